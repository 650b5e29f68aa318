"""What an agent remembers: acted with, stored, forgotten where an episode starts, saved, and learned from."""

from __future__ import annotations

import io
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import counting  # noqa: F401  registers Counting-v0
import numpy as np
import pytest
import recurrent
import torch
from acting import Remembering, Rows
from gymnasium.vector import AutoresetMode
from tiny import assert_equal, comparable, tiny

from rlgen import experiment, inference
from rlgen.core.buffer import Buffer
from rlgen.core.play import next_memory
from rlgen.core.source import EnvSource
from rlgen.core.step import Eager
from rlgen.options import algorithms
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run
from rlgen.speed import recorded

MODES = [None, AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]
T = 5  # rows of a rollout


class Diary(Remembering):
    """Notes the steps that an episode has taken and those that it remembers, whenever it acts."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[torch.Tensor, torch.Tensor]] = []

    def act(self, obs: torch.Tensor, greedy: bool = False, memory: Any = None) -> dict[str, Any]:
        self.notes.append((obs[:, 0].clone(), memory["steps"][:, 0].clone()))
        return super().act(obs, greedy, memory)

    def read(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Steps taken and steps remembered, [T, N] each."""
        taken, remembered = (torch.stack(column) for column in zip(*self.notes, strict=True))
        return taken, remembered


def source_of(env_id: str, num_envs: int, vectorization: str = "sync", **options: Any) -> EnvSource:
    return EnvSource(env_id, num_envs, vectorization, seed=3, eval_episodes=5, **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_envs", [1, 4])
def test_memory_starts_with_the_episode_and_is_stored_as_it_was_acted_with(num_envs: int, mode: Any) -> None:
    source, agent = source_of("Counting-v0", num_envs, autoreset_mode=mode), Diary()
    agent.rows_per_turn = 300  # more than go to the buffer at once
    buffer = Buffer(400 * num_envs, generator=torch.Generator())
    source.fill(buffer, agent)
    rollout: Any = buffer.drain()
    stored, valid = rollout["memory"]["steps"][..., 0], rollout["valid"]  # [T, N]
    assert torch.equal(stored, agent.read()[1])
    assert torch.equal(stored[valid], rollout["obs"][..., 0][valid]), "as many as the episode has taken"
    assert stored.max() > 3
    assert (~valid).any() == (mode is AutoresetMode.NEXT_STEP)
    assert (stored[~valid] == 0).all(), "an episode ended before the junk step"
    source.close()


@pytest.mark.parametrize("mode", [None, AutoresetMode.NEXT_STEP])
def test_evaluation_remembers_its_own_episodes_alone(mode: Any) -> None:
    source, agent = source_of("Counting-v0", 2, autoreset_mode=mode), Diary()
    source.fill(Rows(), agent)  # type: ignore[arg-type]
    before = source.state_dict()
    agent.notes = []
    source.play(agent, 7, seed=1)
    source.play(agent, 1, seed=1)
    assert_equal(before, source.state_dict())

    agent.notes = []
    source.evaluate(agent)
    taken, remembered = agent.read()  # [T, N]
    assert (taken == 0).sum(0).max() > 1, "more than one episode"
    junk = torch.zeros_like(taken, dtype=torch.bool)
    if mode is AutoresetMode.NEXT_STEP:  # what is done with a last observation leads to the next first one
        junk[:-1] = taken[1:] == 0
    assert torch.equal(remembered[:-1], torch.where(junk, 0, taken)[:-1])
    source.close()


@pytest.mark.parametrize("greedy", [False, True])
def test_an_agent_with_memory_explores_in_training_and_is_greedy_when_it_is_evaluated(greedy: bool) -> None:
    source, agent, asked = source_of("Counting-v0", 2), Remembering(), set()
    act = agent.act

    def asking(obs: Any, greedy: bool = False, memory: Any = None) -> Any:
        asked.add(greedy)
        return act(obs, greedy, memory)

    agent.act = asking  # type: ignore[method-assign]
    if greedy:
        source.evaluate(agent)
    else:
        source.fill(Rows(), agent)  # type: ignore[arg-type]
    assert asked == {greedy}
    source.close()


def test_steps_taken_at_once_remember_what_single_ones_do() -> None:
    at_once, one_by_one, rows, others = source_of("Counting-v0", 3), source_of("Counting-v0", 3), Rows(), Rows()
    agent = Remembering()
    agent.rows_per_turn = 300
    at_once.fill(rows, agent)  # type: ignore[arg-type]
    agent.rows_per_turn = 1
    for _ in range(300):
        one_by_one.fill(others, agent)  # type: ignore[arg-type]
    for row, other in zip(rows.rows, others.rows, strict=True):
        assert torch.equal(row["memory"]["steps"], other["memory"]["steps"])
    assert_equal(at_once.state_dict(), one_by_one.state_dict())


def test_an_environment_that_cannot_go_back_begins_with_no_memory() -> None:
    source, agent = source_of("Counting-v0", 2, autoreset_mode=AutoresetMode.NEXT_STEP), Diary()
    agent.rows_per_turn = 1
    while source.memory is None or (source.memory["steps"] == 0).any():
        source.fill(Rows(), agent)  # type: ignore[arg-type]
    assert source.load_state_dict(source.state_dict()) is False
    agent.notes = []
    source.fill(Rows(), agent)  # type: ignore[arg-type]
    taken, remembered = agent.read()
    assert (taken[0] == 0).all() and (remembered[0] == 0).all()
    source.close()


def test_memory_that_is_not_finite_is_forgotten_too() -> None:
    """An attention window marks its empty places with -inf; times zero that was NaN for ever."""
    memory = {"scores": torch.tensor([[-torch.inf, 1.0], [-torch.inf, 2.0]]), "count": torch.tensor([3.0, 4.0])}
    following = next_memory({"memory": memory}, np.array([True, False]))
    assert following["scores"].tolist() == [[0.0, 0.0], [-torch.inf, 2.0]]
    assert following["count"].tolist() == [0.0, 4.0]
    assert memory["count"].tolist() == [3.0, 4.0], "what a row holds stays"


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("recurrent", "recurrent", "rlgen.algorithms")
    monkeypatch.setattr(algorithms, "entry_points", lambda group: [entry])


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize("remember", [True, False])
def test_only_a_memory_solves_the_task(remember: bool, tmp_path: Path) -> None:
    options = {"lr": 3e-2, "rollout_steps": 64, "steps": 3_000, "eval_every": 3_000, "eval_episodes": 100}
    config = tiny("recurrent", tmp_path, env="recurrent:Cue-v0", num_envs=4, remember=remember, **options)
    run = experiment.start(config, quiet=True)
    (score,) = (row["eval/episodic_return"] for row in read_metrics(run.path) if "eval/episodic_return" in row)
    assert score >= 0.95 if remember else abs(score - 0.5) < 0.2
    again = inference.evaluate(run.path, episodes=100)["episodic_return"]["mean"]
    assert again == pytest.approx(score), "the loaded agent remembers as well"


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize(("num_envs", "stop_at"), [(1, 333), (4, 500)])
def test_a_killed_run_goes_on_as_if_never_stopped(
    num_envs: int, stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"env": "counting:Counting-v0", "num_envs": num_envs, "steps": 600, "rollout_steps": 12 * num_envs}
    whole = experiment.start(tiny("recurrent", tmp_path, name="whole", **options), quiet=True)

    class KilledError(Exception):
        """Stands for kill -9: nothing is saved on the way out."""

    def kill(self: Run) -> None:
        if self.step >= stop_at:
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Run, "raise_if_interrupted", kill)
        experiment.start(tiny("recurrent", tmp_path, name="killed", **options), quiet=True)
    resumed = experiment.resume("killed", str(tmp_path), quiet=True)
    state, other = whole.load(), resumed.load()
    assert state["source"]["memory"]["hidden"].shape == (num_envs, 16)
    for part in ("step", "learner", "source", "buffer", "rng"):
        assert_equal(state[part], other[part], part)
    assert comparable(whole.path) == comparable(resumed.path)


def make(
    env_id: str, num_envs: int, vectorization: str, seed: int = 0
) -> tuple[recurrent.Recurrent, EnvSource, Buffer]:
    """An agent that learns every T rows, and its environments and buffer."""
    source = source_of(env_id, num_envs, vectorization)
    torch.manual_seed(seed)
    learner = recurrent.Recurrent(recurrent.Config(rollout_steps=T * num_envs), source.spec)
    return learner, source, learner.make_buffer()


def take_rows(learner: Any, source: EnvSource, buffer: Buffer, rows: range) -> list[Any]:
    """Add the rows one by one and learn from every full rollout; returns those."""
    learner.rows_per_turn, rollouts = 1, []
    for row in rows:
        source.fill(buffer, learner)
        for batch in learner.batches(buffer) if row % T == T - 1 else ():
            rollouts.append(batch)
            learner.learn(batch)
    return rollouts


def states(*parts: Any) -> Any:
    """The states of learner, source and buffer, as they come back from a file."""
    file = io.BytesIO()
    torch.save([part.state_dict() for part in parts], file)
    file.seek(0)
    return torch.load(file, weights_only=True)


KINDS = [
    ("Cue-v0", 1, "sync"),
    ("Cue-v0", 4, "sync"),
    ("Counting-v0", 1, "sync"),
    ("Counting-v0", 4, "sync"),
    ("CartPole-v1", 4, "native"),  # its autoreset takes a junk step
]


# The native CartPole's observations are transposed, those of its restored state are not: a matrix product rounds
# otherwise, and a memory keeps the difference.


@pytest.mark.parametrize(("env_id", "num_envs", "vectorization"), KINDS)
def test_it_resumes_bit_for_bit_at_any_step(env_id: str, num_envs: int, vectorization: str) -> None:
    """In the middle of an episode, and of a rollout."""
    begin = 30 if vectorization == "native" else 3  # a pole falls after ten steps at the earliest
    for stop in range(begin, begin + 2 * T - 1):
        whole = make(env_id, num_envs, vectorization)
        take_rows(*whole, range(stop))
        resumed = make(env_id, num_envs, vectorization, seed=99)
        for part, state in zip(resumed, states(*whole), strict=True):
            assert part.load_state_dict(state) is not False
        rollouts = [take_rows(*parts, range(stop, stop + 2 * T)) for parts in (whole, resumed)]
        assert len(rollouts[0]) == 2
        assert_equal(rollouts[0], rollouts[1], f"stopped at {stop}")
        assert_equal(states(*whole), states(*resumed), f"stopped at {stop}")
        whole[1].close(), resumed[1].close()


@pytest.mark.parametrize(("env_id", "num_envs", "vectorization"), KINDS)
def test_an_unrolled_rollout_remembers_what_was_stored(env_id: str, num_envs: int, vectorization: str) -> None:
    """Sequences may begin from any stored memory: it is what the networks of the rollout come to themselves."""
    learner, source, buffer = make(env_id, num_envs, vectorization)
    learner.rows_per_turn, learner.rollout_size, num_junk = 40, 40 * num_envs, 0
    buffer = learner.make_buffer()
    for _ in range(3):
        source.fill(buffer, learner)
        (batch,) = learner.batches(buffer)
        stored = batch["memory"]["hidden"]  # [T, N, H]
        following = learner.unroll(learner, batch) * batch["going"][..., None]
        torch.testing.assert_close(following[:-1], stored[1:])
        torch.testing.assert_close(following[-1], source.memory["hidden"])  # type: ignore[index]
        assert (stored[1:][~batch["going"][:-1]] == 0).all()
        num_junk += int((~batch["valid"]).sum())
    assert bool(num_junk) == (vectorization == "native")
    source.close()


@pytest.mark.parametrize(("env_id", "num_envs", "vectorization"), KINDS[-2:])
def test_recorded_steps_are_the_eager_ones(
    env_id: str, num_envs: int, vectorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    learners = []
    for executor in (recorded.Recorded(verify=3), Eager()):
        learner, source, buffer = make(env_id, num_envs, vectorization)
        learner.executor = executor
        rollouts = take_rows(learner, source, buffer, range(12 * T))
        learners.append((learner, rollouts))
        source.close()
    (one, rollouts), (other, expected) = learners
    assert not one.executor.refused  # type: ignore[attr-defined]
    assert [each.count for each in one.executor.recordings.values()] == [11]  # type: ignore[attr-defined]
    for rollout, eager in zip(rollouts, expected, strict=True):
        assert torch.equal(rollout["action"], eager["action"])
        torch.testing.assert_close(rollout["memory"]["hidden"], eager["memory"]["hidden"], rtol=1e-4, atol=1e-5)
    for (name, param), eager in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(param, eager, atol=1e-5), name
