"""How rlgen does its works."""

from contextlib import ExitStack

import pytest
import torch

from rlgen import experiment
from rlgen.bench import ours, replay
from rlgen.bench.works import WORKS, Work, configure


@pytest.mark.parametrize("name", ["atari-update", "atari-sampled", "replay", "start", "memory"])
def test_works_that_are_no_training(name, tiny_bench, monkeypatch):
    monkeypatch.setattr(replay, "CAPACITY", 100)
    monkeypatch.setattr(replay, "NUM_WARM", 16)
    monkeypatch.setattr(ours, "train_in_new_process", lambda config, steps: 123)
    (row,) = tiny_bench(only=name)["results"]
    expected = {
        "atari-update": {"us per update"},
        "atari-sampled": {"us per update"},
        "replay": {"us per insert", "us per sample", "bytes"},
        "start": {"s per help page", "s per first step"},
        "memory": {"bytes"},
    }
    assert set(row["measures"]) == expected[name]


def test_a_process_of_its_own_reports_its_peak_memory():
    assert ours.train_in_new_process(configure("memory"), 10) > 2**20


@pytest.mark.parametrize(("name", "unit"), [("dqn-1env", "env step"), ("vae-mlp", "image")])
def test_a_block_trains(name, unit):
    with ExitStack() as stack:
        trainer = ours.Trainer(configure(name), WORKS[name], stack)
        before = [param.clone() for param in trainer.learner.parameters()]
        costs = trainer(0.02)
    assert set(costs) == {f"us per {unit}", "us per update"}
    assert trainer.learner.num_updates > 0 and trainer.taken > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, trainer.learner.parameters(), strict=True))


def test_updates_on_one_batch_are_counted_so_that_they_are_recorded(monkeypatch):
    learners, build = [], experiment.build_learner
    monkeypatch.setattr(experiment, "build_learner", lambda *args: learners.append(build(*args)) or learners[-1])
    block = ours.update(configure("atari-update", batch_size=2), WORKS["atari-update"], ExitStack())
    for _ in range(3):
        block(0.0)
    (learner,) = learners
    assert learner.num_updates == 3 and learner.executor.recordings and not learner.executor.refused


def test_a_sampled_update_draws_a_batch_of_its_own_from_single_frames(drawn, monkeypatch):
    monkeypatch.setattr(replay, "NUM_WARM", 64)
    built, build = [], experiment.build_buffer

    def spied(learner, spec):
        built.append((learner, build(learner, spec)))
        return built[-1][1]

    monkeypatch.setattr(experiment, "build_buffer", spied)
    config = configure("atari-sampled", batch_size=2, graph=False)  # a recording draws, too
    block = ours.sampled_update(config, WORKS["atari-sampled"], ExitStack())
    for _ in range(3):
        block(0.0)
    ((learner, buffer),) = built
    assert drawn == [2] * 3 and learner.num_updates == 3
    assert len(buffer) == 64 and buffer.ring.columns["obs"].shape[2:] == (84, 84)


def test_a_whole_run_is_the_command_line_in_a_new_process():
    work = Work("reinforce --steps 300 --rollout-steps 100 --wandb disabled --eval-episodes 1", "run")
    cost = ours.whole_run(configure("default-run", compile="never"), work, ExitStack())(0.0)["s per run"]
    assert cost.value > 0.5 and cost.cpu is not None and cost.cpu > 0.5  # torch alone takes longer to import


def test_recorded_steps_are_timed_as_the_work_is_without_machine_code(monkeypatch):
    seen = []
    monkeypatch.setitem(ours.OURS, "env", lambda config, *_: seen.append(config["compile"]))
    ours.recorded(configure("dqn-1env", compile="always"), WORKS["dqn-1env"], ExitStack())
    assert seen == ["never"]
