import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from toy_runs import Regression, make_run

from rlgen.errors import DiskError
from rlgen.runs.weights import save_weights


def test_the_tensors_of_a_learner_are_for_programs_that_are_not_rlgen(tmp_path):
    run, learner = make_run(tmp_path, "mine"), Regression()
    run.step = 70
    run.export(learner)
    with safe_open(run.path / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "run": "mine", "algo": "dqn", "step": "70"}
        assert torch.equal(file.get_tensor("net.weight"), learner.net.weight)
        assert {name for name, value in learner.state_dict().items() if torch.is_tensor(value)} == set(file.keys())


def test_tensors_that_share_memory_are_written(tmp_path):
    whole = torch.arange(6.0)
    save_weights(tmp_path / "w", {"whole": whole, "part": whole[2:4], "transposed": whole.view(2, 3).T}, {})
    with safe_open(tmp_path / "w", "pt") as file:
        assert torch.equal(file.get_tensor("part"), whole[2:4])
        assert torch.equal(file.get_tensor("transposed"), whole.view(2, 3).T)


def test_a_full_disk_is_a_disk_error_and_leaves_the_file_of_before(tmp_path):
    save_weights(tmp_path / "w", {"a": torch.zeros(3)}, {})
    before = (tmp_path / "w").read_bytes()
    code = """
import resource, signal, sys, torch
from pathlib import Path
from rlgen.errors import DiskError
from rlgen.runs.weights import save_weights
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_weights(Path(sys.argv[1]), {"a": torch.zeros(1_000_000)}, {})
except DiskError as error:
    print(error)
"""
    child = subprocess.run([sys.executable, "-c", code, tmp_path / "w"], capture_output=True, text=True, timeout=60)
    assert "cannot write" in child.stdout and child.stdout.count("\n") == 1, child.stderr
    assert os.listdir(tmp_path) == ["w"] and (tmp_path / "w").read_bytes() == before
    with pytest.raises(DiskError, match="free space or fix permissions"):
        save_weights(tmp_path / "missing" / "w", {"a": torch.zeros(3)}, {})
