import os
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny

from rlgen import experiment, inference
from rlgen.runs import checkpoint, pruning


def state(step):
    return {"step": step, "weights": torch.full((1000,), float(step))}


def save(folder, *steps):
    for step in steps:
        checkpoint.save(folder, step, state(step))


def test_prune_keeps_the_last_two_and_the_best_and_no_abandoned_future(tmp_path):
    save(tmp_path, 10, 20, 30, 40, 90)
    pruning.prune(tmp_path, 40, best=10)
    assert checkpoint.steps(tmp_path) == [10, 30, 40]
    pruning.prune(tmp_path, 40, best=None)
    assert checkpoint.steps(tmp_path) == [30, 40]
    assert len(os.listdir(tmp_path)) == 2


def test_as_many_as_asked_for_are_kept_beside_the_best(tmp_path):
    save(tmp_path, 10, 20, 30, 40, 50)
    pruning.prune(tmp_path, 50, 10, newest=3)
    assert checkpoint.steps(tmp_path) == [10, 30, 40, 50]
    pruning.prune(tmp_path, 50, 40, newest=1)
    assert checkpoint.steps(tmp_path) == [40, 50]


def test_pruning_removes_a_link_and_not_what_it_leads_to(tmp_path):
    folder, outside = tmp_path / "checkpoints", tmp_path / "outside"
    save(folder, 20, 30)
    checkpoint.save(outside, 10, state(10))
    (folder / "step_000000010").symlink_to(outside / "step_000000010")
    (folder / "step_000000015").symlink_to(tmp_path / "nowhere")
    assert torch.equal(checkpoint.load(folder, 10)["weights"], state(10)["weights"]), "reading through it is harmless"
    pruning.prune(folder, 30, None)
    assert checkpoint.steps(folder) == [20, 30] and not os.path.lexists(folder / "step_000000010")
    assert sorted(os.listdir(outside / "step_000000010")) == ["manifest.json", "state.pt"]
    checkpoint.save(folder, 15, state(15))
    assert checkpoint.load(folder, 15)["step"] == 15 and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("free", "damaged", "best", "kept"),
    [
        (1_000_000, [], 10, [10, 20, 30, 50]),  # there is room
        (1_000, [], 10, [10, 30]),
        (1_000, [], None, [30]),
        (1_000, [30], None, [20]),  # the newest whole one, which a crash may have left
        (1_000, [10, 20, 30], None, [10, 20, 30, 50]),  # none is whole: nothing may be lost
        (1_000, [30], 30, [20, 30]),
    ],
)
def test_on_a_disk_that_is_almost_full_older_ones_go_before_another_is_written(
    tmp_path, monkeypatch, free, damaged, best, kept
):
    """They went only after it was saved, so that one too many had to fit; 50 is of a future that was given up."""
    save(tmp_path, 10, 20, 30, 50)
    for step in damaged:
        file = checkpoint.directory(tmp_path, step) / "state.pt"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    pruning.make_room(tmp_path, 40, best)
    assert checkpoint.steps(tmp_path) == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoint.directory(tmp_path, s).name for s in kept]


def test_a_run_makes_room_before_it_saves_and_is_never_without_a_checkpoint(tmp_path, monkeypatch):
    seen = []
    saves = checkpoint.save

    def saving(folder, *args):
        seen.append(len(checkpoint.steps(folder)))
        return saves(folder, *args)

    monkeypatch.setattr("rlgen.runs.checkpoint.save", saving)
    monkeypatch.setattr(pruning.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    monkeypatch.setattr("rlgen.runs.preflight.check", lambda *args: None)
    options = {"num_envs": 2, "vectorization": "native", "eval_episodes": 1, "checkpoint_every": 100, "keep": 4}
    run = experiment.start(tiny("dqn", tmp_path, name="mine", eval_every=600, steps=600, **options), quiet=True)
    assert len(seen) >= 6 and seen[0] == 0 and set(seen[1:]) <= {1, 2}
    assert inference.load(run.path).num_updates
