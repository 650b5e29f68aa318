import os
import signal

import pytest
from toy_runs import make_run

from rlgen.errors import InterruptedRunError


def test_signals(tmp_path, capfd):
    run = make_run(tmp_path, "mine")
    before = signal.getsignal(signal.SIGINT)
    with run.running():
        run.raise_if_interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.interrupted
        os.kill(os.getpid(), signal.SIGTERM)  # impatience of a scheduler does not cost the checkpoint
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        run.step = 10
        with pytest.raises(
            InterruptedRunError, match=r"SIGTERM, saved at step 10; go on with: rlgen resume .*mine"
        ) as it:
            run.raise_if_interrupted()
        assert it.value.exit_code == 143
        run.step = run.steps
        run.raise_if_interrupted()  # it had just ended
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err.count("stopping") == 1
