import pytest
import torch

from rlgen.errors import CheckpointError, UsageError
from rlgen.runs import checkpoint, choice, pruning


def save(folder, *steps):
    for step in steps:
        checkpoint.save(folder, step, {"step": step, "weights": torch.full((1000,), float(step))})


def replacing(folder, times):
    """Load as while a run saves: each of the first `times` checkpoints is gone before it is read, and a newer there."""
    load, left = checkpoint.load, list(range(times))

    def slowly(folder, step, *more):
        if left:
            newer = checkpoint.steps(folder)[-1] + 10
            save(folder, newer)
            pruning.prune(folder, newer, None, 1)
            left.pop()
        return load(folder, step, *more)

    return slowly


def test_checkpoints_that_a_run_replaced_meanwhile_are_looked_for_once_more(tmp_path, monkeypatch, capsys):
    save(tmp_path, 10)
    monkeypatch.setattr(checkpoint, "load", replacing(tmp_path, 1))
    assert choice.load_newest(tmp_path)["step"] == 20
    assert capsys.readouterr().err == ""  # nothing is damaged
    monkeypatch.setattr(checkpoint, "load", replacing(tmp_path, 2))
    with pytest.raises(UsageError, match=r"were replaced while they were read.* fork again"):
        choice.load_newest(tmp_path)
    with pytest.raises(CheckpointError, match="none was saved"):
        choice.load_newest(tmp_path / "empty")


@pytest.mark.parametrize("which", ["10", "best"])
def test_a_chosen_checkpoint_that_was_removed_while_it_was_read_is_said(tmp_path, monkeypatch, which):
    save(tmp_path, 10)
    monkeypatch.setattr(checkpoint, "load", replacing(tmp_path, 1))
    with pytest.raises(UsageError, match=r"were replaced while they were read.* fork again"):
        choice.load_chosen(tmp_path, which, 10, lambda state: None)
