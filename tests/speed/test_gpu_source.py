"""The GPU's way to step environments, here on the CPU: its copies are faked, all else is as it is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from acting import Constant, Remembering, Rows, Signs
from tiny import tiny

from rlgen import experiment, inference
from rlgen.core.source import EnvSource
from rlgen.speed.gpu_source import GpuEnvSource


class HostSource(GpuEnvSource):
    """Its device is the host, which a copy of what is uploaded stands for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, device=torch.device("cpu"))

    def _upload(self, obs: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(obs.copy())

    def _download(self, action: torch.Tensor) -> Callable[[], np.ndarray]:
        return action.numpy


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_rows_are_the_same_everywhere_and_lie_on_the_host(vectorization: str) -> None:
    here, there = (make("CartPole-v1", 4, vectorization, 0, 1) for make in (EnvSource, HostSource))
    rows, others = Rows(), Rows()
    learner, other_learner = Constant(rows_per_turn=60), Constant(rows_per_turn=60)
    learner.acts_on_arrays = other_learner.acts_on_arrays = True
    assert here.fill(rows, learner) == there.fill(others, other_learner)  # type: ignore[arg-type]
    assert here.metrics() == there.metrics()
    names = {"obs", "action", "reward", "next_obs", "terminated", "truncated", "valid"}
    for row, other in zip(rows.rows, others.rows, strict=True):
        assert row.keys() == other.keys() == names
        for name, value in row.items():
            assert isinstance(value, torch.Tensor if name == "action" else np.ndarray)
            assert isinstance(other[name], np.ndarray)
            assert np.array_equal(value, other[name])
    for row, following in zip(others.rows, others.rows[1:], strict=False):
        ended = row["terminated"] | row["truncated"]
        assert np.array_equal(row["next_obs"][~ended], following["obs"][~ended])
        assert ended.any() or row["next_obs"] is following["obs"], "it crosses once"
    here.close()
    there.close()


def test_an_agent_that_acts_ahead_chooses_before_its_updates_and_on_what_it_sees() -> None:
    source, rows, learner = HostSource("CartPole-v1", 2, "sync", 0, 1), Rows(), Signs()
    for turn in range(1, 31):
        source.fill(rows, learner)  # type: ignore[arg-type]
        assert learner.calls == 3 * turn + 1, "one ahead, and none twice"
    for row in rows.rows:
        assert np.array_equal(row["action"], row["obs"][:, 0] > 0)
    assert any((row["terminated"] | row["truncated"]).any() for row in rows.rows), "over the ends of episodes too"
    source.load_state_dict(source.state_dict())
    source.fill(rows, learner)  # type: ignore[arg-type]
    assert learner.calls == 3 * 31 + 1, "what was chosen before a resume is not chosen again"
    source.close()


class Drawing(Signs):
    """Acts at random; its updates draw too."""

    def act(self, obs: torch.Tensor, greedy: bool = False) -> dict[str, torch.Tensor]:
        return {"action": torch.randint(2, (len(obs),), generator=self.generator)}


def test_what_was_chosen_ahead_is_part_of_a_checkpoint() -> None:
    """Its random numbers were drawn before those of the updates: a resumed run that drew them anew would differ."""
    sources = [make("CartPole-v1", 2, "sync", 0, 1) for make in (HostSource, HostSource)]
    kept, learners = (Rows(), Rows()), (Drawing(), Drawing())
    learners[1].generator.set_state(learners[0].generator.get_state())
    for turn in range(20):
        for i, (source, rows, learner) in enumerate(zip(sources, kept, learners, strict=True)):
            source.fill(rows, learner)  # type: ignore[arg-type]
            torch.rand(3, generator=learner.generator)
            if i == 1 and turn in (4, 5, 11):
                state = source.state_dict()
                source.close()
                sources[1] = HostSource("CartPole-v1", 2, "sync", 0, 1)
                assert sources[1].load_state_dict(state)
    for row, other in zip(kept[0].rows, kept[1].rows, strict=True):
        assert np.array_equal(row["action"], other["action"]) and np.array_equal(row["obs"], other["obs"])

    state = sources[0].state_dict()
    for wrong in (torch.tensor([0, 7]), torch.tensor([1])):
        with pytest.raises(ValueError, match="chosen"):
            sources[1].load_state_dict({**state, "chosen": {"action": wrong}})
    del state["chosen"]
    assert sources[1].load_state_dict(state), "a checkpoint of before has none"
    for source in sources:
        source.close()


def test_an_agent_that_acts_ahead_remembers_what_it_would_otherwise() -> None:
    """Its memory must be that of the step it acted for, and not one step on."""
    here, there = (make("CartPole-v1", 2, "sync", 0, 1) for make in (EnvSource, HostSource))
    rows, others = Rows(), Rows()
    for turn in range(30):
        here.fill(rows, Remembering())  # type: ignore[arg-type]
        there.fill(others, Remembering())  # type: ignore[arg-type]
        if turn == 14:
            for source in (here, there):
                assert source.load_state_dict(source.state_dict())
    expected = np.zeros((2, 1))
    for row, other in zip(rows.rows, others.rows, strict=True):
        assert np.array_equal(row["memory"]["steps"], expected)
        assert torch.equal(row["memory"]["steps"], other["memory"]["steps"])
        expected = (expected + 1) * ~(row["terminated"] | row["truncated"])[:, None]
    assert max(row["memory"]["steps"].max() for row in rows.rows) > 5
    here.close()
    there.close()


@pytest.mark.gpu
@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_pixels_are_learned_from_on_the_gpu_and_a_run_on_them_goes_on(algo: str, tmp_path: Path) -> None:
    """Stacks of frames out of a ring of single ones, drawn and learned from in one CUDA graph."""
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    options = {"env": "ALE/Pong-v5", "vectorization": "native", "num_envs": 2, "device": "auto", "verify_graph": 5}
    options |= {"steps": 400, "eval_every": 400, "eval_episodes": 1, "eval_max_episode_steps": 20, "train_every": 4}
    options = {name: value for name, value in options.items() if (algo, name) != ("ppo", "train_every")}
    config = tiny(algo, tmp_path, name="mine", **options)
    learner, source, buffer = experiment.build(config)
    while learner.num_updates < 20:
        source.fill(buffer, learner)
        for batch in learner.batches(buffer):
            learner.learn(batch)
    source.close()
    assert type(source) is GpuEnvSource and learner.device.type == "cuda" and not learner.executor.refused
    assert sum(recording.count for recording in learner.executor.recordings.values()) >= 15
    assert buffer.ring.columns["obs"].shape[2:] == (84, 84), "a frame, and not a stack"

    run = experiment.start(config, quiet=True)
    assert experiment.resume("mine", str(tmp_path), steps=500, quiet=True).step >= 500
    assert inference.evaluate(run.path, episodes=1)["episodes"] == 1
