import os
import pty
import signal
import sys

import pytest
from toy_runs import make_run, parts, quiet

from rlgen.envs.watch import STOPPING
from rlgen.errors import InterruptedRunError
from rlgen.runs import stopping
from rlgen.runs.run import Run
from rlgen.text import warn


def send(*signums):
    for signum in signums:
        os.kill(os.getpid(), signum)


@pytest.fixture
def seconds(monkeypatch):
    """The clock that tells one press of Ctrl-C from two."""
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("signum", STOPPING, ids=lambda signum: signum.name)
def test_a_signal_lets_the_step_end_and_the_state_be_saved(signum, tmp_path, capfd):
    run = make_run(tmp_path, "mine")
    before = signal.getsignal(signum)
    with run.running():
        run.raise_if_interrupted()
        send(signum, signum)  # impatience of a scheduler does not cost the checkpoint
        assert run.interrupted
        run.step = 10
        run.raise_if_interrupted()  # not yet saved
        run.saved = 10
        with pytest.raises(InterruptedRunError) as it:
            run.raise_if_interrupted()
        assert str(it.value).startswith(f"stopped by {signum.name}, saved at step 10; go on with: rlgen resume ")
        assert it.value.exit_code == 128 + signum
        run.step = run.saved = run.steps
        run.raise_if_interrupted()  # it had just ended
        run.eval_due = True
        with pytest.raises(InterruptedRunError):
            run.raise_if_interrupted()
    assert signal.getsignal(signum) is before
    assert capfd.readouterr().err.count("stopping") == 1 or signum == signal.SIGINT


def test_the_first_of_several_signals_is_the_reason_and_none_aborts(tmp_path, seconds):
    run = make_run(tmp_path, "mine")
    with run.running():
        send(signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT)
        run.step = run.saved = 10
        with pytest.raises(InterruptedRunError, match="stopped by SIGUSR1"):
            run.raise_if_interrupted()


def test_a_second_ctrl_c_aborts_unless_it_is_the_same_press(tmp_path, seconds):
    with make_run(tmp_path, "mine").running():
        send(signal.SIGTERM, signal.SIGINT)
        seconds[0] += 0.1  # passed on by a launcher
        send(signal.SIGINT)
        seconds[0] += 1.0
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP], ids=lambda signum: signum.name)
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(signum, tmp_path):
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        run = make_run(tmp_path, "mine")
        with run.running():
            send(signum)
            assert not run.interrupted
        assert signal.getsignal(signum) is signal.SIG_IGN
    finally:
        signal.signal(signum, before)


def test_with_seeds_what_has_not_begun_does_not_and_what_begins_late_is_stopped(tmp_path):
    stopping.check()
    with stopping.handling():
        stopping.check()
        send(signal.SIGUSR2)
        with pytest.raises(InterruptedRunError, match="SIGUSR2 before it began") as it:
            stopping.check()
        assert it.value.exit_code == 128 + signal.SIGUSR2
        late = make_run(tmp_path, "late")
        with late.running():
            assert late.interrupted
    stopping.check()


def test_a_signal_while_episodes_are_played_again_ends_at_once(tmp_path):
    run, log = make_run(tmp_path, "mine"), quiet(make_run(tmp_path))
    run.step = 10
    run.save(*parts(), log)
    learner, source, buffer = parts()
    source.load_state_dict = lambda state: send(signal.SIGTERM) or pytest.fail("it went on")
    resumed = Run.open(run.path)
    with resumed.running(), pytest.raises(InterruptedRunError, match="saved at step 10; go on with"):
        resumed.restore(learner, source, buffer, log)


def test_a_terminal_that_is_gone_ends_no_run(tmp_path, monkeypatch):
    """After a dropped ssh, what is written to the terminal is an error."""
    main, terminal = pty.openpty()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    monkeypatch.setattr(sys, "stderr", os.fdopen(2, "w", closefd=False, buffering=1))
    run = make_run(tmp_path, "mine")
    try:
        with run.running():
            for descriptor in (1, 2):
                os.dup2(terminal, descriptor)
            os.close(main)
            warn("nobody reads this")
            with pytest.raises(OSError):
                os.write(2, b"nor this")
            send(signal.SIGHUP)
            assert run.interrupted
            os.write(2, b"nor this")
            print("nor this", file=sys.stderr, flush=True)
    finally:
        for descriptor, own in zip((1, 2), kept, strict=True):
            os.dup2(own, descriptor)
            os.close(own)
