"""What the sources put into the buffer, count and report."""

import math
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlgen.core.buffer import Buffer
from rlgen.core.learner import Agent, Generative
from rlgen.core.source import ROWS, EnvSource, ImageSource, realised
from rlgen.data.images import ImageData
from rlgen.errors import MissingExtraError
from rlgen.pictures import grid

CPU = torch.device("cpu")


class Constant(Agent):
    """Always the same action; its estimate of the return is a constant."""

    def __init__(self, collect: int = 1, estimate: float = 3.0) -> None:
        super().__init__(SimpleNamespace(gamma=0.5))
        self.collect, self.estimate = collect, estimate

    def act(self, obs: torch.Tensor, greedy: bool = False) -> dict[str, torch.Tensor]:
        action = torch.ones(len(obs), dtype=torch.int64)
        return {"action": action} | ({"q_estimate": torch.full((len(obs),), self.estimate)} if greedy else {})


def make_buffer(capacity: int = 10_000) -> Buffer:
    return Buffer(capacity, gamma=0.5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("num_envs", "vectorization"), [(1, "sync"), (4, "sync"), (4, "native"), (2, "async")])
def test_fill_ticks_true_steps_and_counts_whole_episodes(num_envs: int, vectorization: str) -> None:
    """CartPole with one action falls in about ten steps; a junk reset step ticks nothing and is nobody's episode."""
    source = EnvSource("CartPole-v1", num_envs, vectorization, 0, 3, CPU)
    buffer, learner = make_buffer(), Constant(collect=100)
    try:
        ticks = source.fill(buffer, learner)
        assert ticks == len(buffer) <= 100 * num_envs
        assert (ticks == 100 * num_envs) == (vectorization != "native")
        metrics = source.metrics()
        assert 8 <= metrics["charts/episodic_return"] == metrics["charts/episodic_length"] <= 11
        assert source.metrics() == {}
        batch = buffer.sample(500)
        ended = batch["discount"] == 0
        assert 0.05 < ended.float().mean() < 0.2
        angle, next_angle = batch["obs"][:, 2], batch["next_obs"][:, 2]
        assert (next_angle[ended].abs() > 0.2).all(), "next_obs of an end is where the pole fell, not a reset"
        assert ((angle - next_angle).abs() < 0.1).all(), "no transition leads from one episode into the next"
    finally:
        source.close()


class Rows:
    """A buffer that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(self, *rows: dict) -> None:
        self.rows += rows


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_observations_are_arrays_on_the_cpu_and_the_same_tensors_elsewhere(vectorization: str) -> None:
    here, there = (EnvSource("CartPole-v1", 4, vectorization, 0, 1, CPU) for _ in range(2))
    there._on_cpu = False  # its copies, made here without a GPU
    there._upload = lambda array: torch.from_numpy(array.copy())  # type: ignore[method-assign]
    there._download = lambda action: action.numpy  # type: ignore[method-assign]
    rows, others = Rows(), Rows()
    assert here.fill(rows, Constant(collect=60)) == there.fill(others, Constant(collect=60))  # type: ignore[arg-type]
    assert here.metrics() == there.metrics()
    names = {"obs", "action", "reward", "next_obs", "terminated", "truncated", "valid"}
    for row, other in zip(rows.rows, others.rows, strict=True):
        assert row.keys() == other.keys() == names
        for name, value in row.items():
            assert isinstance(value, torch.Tensor if name == "action" else np.ndarray)
            assert isinstance(other[name], torch.Tensor if name in ("obs", "next_obs", "action") else np.ndarray)
            assert np.array_equal(value, other[name])
    for row, following in zip(rows.rows, rows.rows[1:], strict=False):
        ended = row["terminated"] | row["truncated"]
        assert np.array_equal(row["next_obs"][~ended], following["obs"][~ended])
    here.close()
    there.close()


class Seeing(Constant):
    """Keeps the types of what it was shown."""

    def act(self, obs: Any, greedy: bool = False) -> dict[str, Any]:
        self.seen = {*getattr(self, "seen", ()), type(obs)}
        return super().act(torch.as_tensor(obs), greedy)


def test_only_agents_that_say_so_are_shown_arrays_and_only_while_they_train() -> None:
    source = EnvSource("CartPole-v1", 2, "sync", 0, 1, CPU)
    for on_arrays in (False, True):
        learner = Seeing(collect=3)
        learner.acts_on_arrays = on_arrays
        source.fill(Rows(), learner)  # type: ignore[arg-type]
        assert learner.seen == {np.ndarray if on_arrays else torch.Tensor}
        learner.seen = ()
        source.play(learner, 1, 0)
        assert learner.seen == {torch.Tensor}
    source.close()


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_many_steps_at_once_are_counted_as_many_one_by_one(vectorization: str) -> None:
    at_once, one_by_one = (EnvSource("CartPole-v1", 3, vectorization, 0, 1, CPU) for _ in range(2))
    num = ROWS + 70
    ticks = at_once.fill(Rows(), Constant(collect=num))  # type: ignore[arg-type]
    assert ticks == sum(one_by_one.fill(Rows(), Constant(collect=1)) for _ in range(num))  # type: ignore[arg-type]
    assert at_once.state_dict() == one_by_one.state_dict()
    assert len(at_once._finished) > 10
    at_once.close()
    one_by_one.close()


class Signs:
    """Acts on the sign of the first number it sees, and counts how often."""

    collect, calls, acts_ahead = 3, 0, True

    def act(self, obs: torch.Tensor, greedy: bool = False) -> dict[str, torch.Tensor]:
        self.calls += 1
        return {"action": (obs[:, 0] > 0).long()}


def test_an_agent_that_acts_ahead_chooses_before_its_updates_and_on_what_it_sees() -> None:
    source, rows, learner = EnvSource("CartPole-v1", 2, "sync", 0, 1, CPU), Rows(), Signs()
    source._on_cpu = False  # as on a GPU, made here without one
    source._upload = lambda array: torch.from_numpy(array.copy())  # type: ignore[method-assign]
    source._download = lambda action: action.numpy  # type: ignore[method-assign]
    for turn in range(1, 31):
        source.fill(rows, learner)  # type: ignore[arg-type]
        assert learner.calls == 3 * turn + 1, "one ahead, and none twice"
    for row in rows.rows:
        assert torch.equal(row["action"], (row["obs"][:, 0] > 0).long())
    assert any((row["terminated"] | row["truncated"]).any() for row in rows.rows), "over the ends of episodes too"
    source.load_state_dict(source.state_dict())
    source.fill(rows, learner)  # type: ignore[arg-type]
    assert learner.calls == 3 * 31 + 2, "what was chosen before a resume is chosen again"
    source.close()


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_episodes_under_way_are_counted_on_after_a_resume(vectorization: str) -> None:
    first, second = (EnvSource("CartPole-v1", 3, vectorization, 0, 1, CPU) for _ in range(2))
    for at in (4, 13, 6):  # in the middle of episodes, and at the native ones' junk steps
        first.fill(Rows(), Constant(collect=at))  # type: ignore[arg-type]
        assert second.load_state_dict(first.state_dict()) is True
        assert second.state_dict() == first.state_dict()
        ticks = [source.fill(Rows(), Constant(collect=25)) for source in (first, second)]  # type: ignore[arg-type]
        assert ticks[0] == ticks[1]
        metrics = first.metrics()
        assert metrics == second.metrics()
        assert metrics["charts/episodic_return"] == metrics["charts/episodic_length"]
    first.close()
    second.close()


def test_evaluation_counts_whole_episodes_and_repeats() -> None:
    source = EnvSource("CartPole-v1", 1, "sync", 0, 7, CPU)
    one, other = (source.play(Constant(), 7, seed=5) for _ in range(2))
    assert len(one["returns"]) == 7 and one == other
    assert all(8 <= value <= 11 for value in one["returns"])
    assert source.play(Constant(), 7, seed=6)["returns"] != one["returns"]
    metrics = source.evaluate(Constant())
    assert 8 <= metrics["eval/episodic_return"] <= 11
    source.close()


def test_a_video_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`rlgen eval --video` once ended in a traceback where pygame was not installed."""

    def render(self: gym.vector.SyncVectorEnv) -> None:
        raise gym.error.DependencyNotInstalled("pygame is not installed")

    monkeypatch.setattr(gym.vector.SyncVectorEnv, "render", render)
    source = EnvSource("CartPole-v1", 1, "sync", 0, 1, CPU)
    with pytest.raises(MissingExtraError, match=r"pip install \"rlgen\[video\]\""):
        source.play(Constant(), 1, seed=0, render=True)
    source.close()


def test_a_video_has_a_frame_for_every_step() -> None:
    pytest.importorskip("pygame")
    source = EnvSource("CartPole-v1", 1, "sync", 0, 1, CPU)
    result = source.play(Constant(), 1, seed=0, render=True)
    assert len(result["frames"]) == result["returns"][0]
    assert result["frames"][0].dtype == np.uint8 and result["frames"][0].shape[2] == 3
    source.close()


def test_estimates_stand_beside_the_returns_of_the_same_states() -> None:
    """With reward 1 and gamma 0.5 an episode of k steps realises 2 - 2^(1-k) from its start; every estimate was 3."""
    source = EnvSource("CartPole-v1", 1, "sync", 0, 1, CPU)
    result = source.play(Constant(estimate=3.0), 1, seed=0)
    length = int(result["returns"][0])
    expected = np.mean([2 - 0.5 ** (k - 1) for k in range(1, length + 1)])
    assert result["eval/q_realised"] == pytest.approx(expected)
    assert result["eval/q_estimate"] == pytest.approx(3.0)
    source.close()


def test_realised_leaves_out_what_a_time_limit_cut() -> None:
    gamma = 0.5  # 0.5^7 < 0.01: the last six steps before a truncation are cut too early
    values = realised(list(range(10)), [1.0] * 10, terminated=False, gamma=gamma)
    assert values.shape == (2, 4)
    assert values[1, 0] == pytest.approx(2 - gamma**9)
    assert realised([0.0] * 10, [1.0] * 10, terminated=True, gamma=gamma).shape == (2, 10)
    assert realised([0.0] * 3, [1.0] * 3, terminated=False, gamma=1.0).shape == (2, 0)


class Counts(Generative):
    """Reports how bright an image is."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(batch_size=8))
        self.collect = 8

    def evaluate(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"eval/brightness": images.float().mean()}

    def sample(self, num: int, seed: int | None = None) -> torch.Tensor:
        return torch.rand(num, 1, 4, 4, generator=torch.Generator().manual_seed(seed or 0))


def test_image_source_fills_once_ticks_batches_and_holds_out() -> None:
    train = np.full((30, 1, 4, 4), 10, dtype=np.uint8)
    test = np.arange(1300, dtype=np.int64)[:, None, None, None].repeat(4, 2).repeat(4, 3) % 256
    data = ImageData("toy", train, test.astype(np.uint8), None, None, None, "memory", "")
    source, learner = ImageSource(data, CPU), Counts()
    buffer = Buffer(None, generator=torch.Generator())
    assert source.fill(buffer, learner) == 8
    assert source.fill(buffer, learner) == 8
    assert len(buffer) == 30
    assert (buffer.sample(100)["image"] == 10).all(), "held-out images are never drawn"
    assert source.evaluate(learner, final=True)["eval/brightness"] == pytest.approx(test.astype(np.uint8).mean())
    during = source.evaluate(learner)
    assert during["eval/brightness"] == pytest.approx(test.astype(np.uint8)[:1000].mean())
    picture = during["samples/grid"]
    assert picture.dtype == np.uint8 and picture.ndim == 2
    assert np.array_equal(picture, source.evaluate(learner)["samples/grid"])
    assert math.isfinite(during["eval/brightness"])
    assert "samples/reconstructions" not in during, "this model has no way back"


class Mirror(Counts):
    """Reconstructs every image as it is."""

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        return images / 255


def test_reconstructions_stand_beside_their_originals() -> None:
    test = np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8)
    source = ImageSource(ImageData("toy", test, test, None, None, None, "memory", ""), CPU)
    picture = source.evaluate(Mirror())["samples/reconstructions"]
    expected = np.asarray(grid(test[:32].repeat(2, axis=0), columns=8))
    assert np.array_equal(picture, expected)
