"""What the sources put into the buffer, count and report."""

import io
import math
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from acting import Constant, Rows, Seeing
from PIL import Image
from tiny import tiny

from rlgen import experiment, inference, video
from rlgen.core.buffer import Buffer
from rlgen.core.image_source import ImageSource
from rlgen.core.learner import Generative
from rlgen.core.play import play, realised
from rlgen.core.source import MAX_ROWS, EnvSource
from rlgen.data.images import ImageData
from rlgen.errors import MissingExtraError, UsageError
from rlgen.pictures import grid

CPU = torch.device("cpu")


def make_buffer(capacity: int = 10_000) -> Buffer:
    return Buffer(capacity, gamma=0.5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("num_envs", "vectorization"), [(1, "sync"), (4, "sync"), (4, "native"), (2, "async")])
def test_fill_ticks_true_steps_and_counts_whole_episodes(num_envs: int, vectorization: str) -> None:
    """CartPole with one action falls in about ten steps; a junk reset step ticks nothing and is nobody's episode."""
    source = EnvSource("CartPole-v1", num_envs, vectorization, 0, 3)
    buffer, learner = make_buffer(), Constant(rows_per_turn=100)
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


@pytest.mark.parametrize("vectorization", ["sync", "native"])
@pytest.mark.parametrize("on_arrays", [False, True])
def test_the_next_row_begins_where_one_ends(vectorization: str, on_arrays: bool) -> None:
    source, buffer, learner = EnvSource("CartPole-v1", 4, vectorization, 0, 1), Rows(), Constant(rows_per_turn=60)
    learner.acts_on_arrays = on_arrays
    source.fill(buffer, learner)  # type: ignore[arg-type]
    names = {"obs", "action", "reward", "next_obs", "terminated", "truncated", "valid"}
    for row in buffer.rows:
        assert row.keys() == names
        assert isinstance(row["obs"], np.ndarray if on_arrays else torch.Tensor)
        assert all(isinstance(row[name], np.ndarray) for name in names - {"obs", "action"})
    for row, following in zip(buffer.rows, buffer.rows[1:], strict=False):
        ended = row["terminated"] | row["truncated"]
        assert np.array_equal(row["next_obs"][~ended], following["obs"][~ended])
        assert ended.any() or not on_arrays or row["next_obs"] is following["obs"], "the buffer then writes it once"
    source.close()


def test_only_agents_that_say_so_are_shown_arrays() -> None:
    source = EnvSource("CartPole-v1", 2, "sync", 0, 1)
    for on_arrays in (False, True):
        learner = Seeing(rows_per_turn=3)
        learner.acts_on_arrays = on_arrays
        source.fill(Rows(), learner)  # type: ignore[arg-type]
        assert learner.seen == {np.ndarray if on_arrays else torch.Tensor}
        learner.seen = ()
        source.play(learner, 1, 0)
        assert learner.seen == {np.ndarray if on_arrays else torch.Tensor}
    source.close()


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_many_steps_at_once_are_counted_as_many_one_by_one(vectorization: str) -> None:
    at_once, one_by_one = (EnvSource("CartPole-v1", 3, vectorization, 0, 1) for _ in range(2))
    num = MAX_ROWS + 70
    ticks = at_once.fill(Rows(), Constant(rows_per_turn=num))  # type: ignore[arg-type]
    assert ticks == sum(one_by_one.fill(Rows(), Constant(rows_per_turn=1)) for _ in range(num))  # type: ignore[arg-type]
    assert at_once.state_dict() == one_by_one.state_dict()
    assert len(at_once._finished) > 10
    at_once.close()
    one_by_one.close()


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_episodes_under_way_are_counted_on_after_a_resume(vectorization: str) -> None:
    first, second = (EnvSource("CartPole-v1", 3, vectorization, 0, 1) for _ in range(2))
    for at in (4, 13, 6):  # in the middle of episodes, and at the native ones' junk steps
        first.fill(Rows(), Constant(rows_per_turn=at))  # type: ignore[arg-type]
        assert second.load_state_dict(first.state_dict()) is True
        assert second.state_dict() == first.state_dict()
        ticks = [source.fill(Rows(), Constant(rows_per_turn=25)) for source in (first, second)]  # type: ignore[arg-type]
        assert ticks[0] == ticks[1]
        metrics = first.metrics()
        assert metrics == second.metrics()
        assert metrics["charts/episodic_return"] == metrics["charts/episodic_length"]
    first.close()
    second.close()


BOX, TWO = gym.spaces.Box, gym.spaces.MultiDiscrete([3, 2])


@pytest.mark.parametrize(
    ("env_id", "trained", "played", "line"),
    [
        (
            "observed:Liar-v0",
            {"space": BOX(-1, 1, (4,))},
            {"space": BOX(-1, 1, (3,))},
            r"would have observations of float32 \[3\], and training has float32 \[4\]: no network fits both",
        ),
        ("observed:Liar-v0", {"space": BOX(0, 9, (4,))}, {"space": BOX(0, 9, (4,), np.uint8)}, "of uint8"),
        (
            "observed:Liar-v0",
            {"space": gym.spaces.Dict(a=BOX(0, 9, (4,)))},
            {"space": gym.spaces.Dict(a=BOX(0, 9, (4,)), b=BOX(0, 9, (2,)))},
            r"of a: float32 \[4\]; b: float32 \[2\], and training has a: float32 \[4\]",
        ),
        (
            "aiming:Start-v0",
            {},
            {"space": gym.spaces.Discrete(5), "best": 1},
            "actions of 0 to 4, and training has 0 to 3",
        ),
        (
            "aiming:Choices-v0",
            {},
            {"space": TWO, "best": [1, 1]},
            r"actions of \[3, 2\] choices, and training has \[3, 2, 2",
        ),
        (
            "aiming:Matrix-v0",
            {},
            {"space": BOX(-1, 1, (2,)), "best": [0, 0]},
            r"real numbers \[2\], and training has real",
        ),
        (
            "aiming:Matrix-v0",
            {},
            {"space": TWO, "best": [0, 0]},
            r"\[3, 2\] choices, and training has real numbers \[2, 3\]",
        ),
        ("aiming:Matrix-v0", {}, {"best": "no"}, r"--eval-env-kwargs: environment 'aiming:Matrix-v0': step\(\) raised"),
        ("aiming:Matrix-v0", {}, {"colour": 1}, "takes no argument 'colour'"),
    ],
)
def test_an_evaluation_that_the_networks_do_not_fit_is_refused_at_the_start(env_id, trained, played, line) -> None:
    with pytest.raises(UsageError, match=line) as error:
        EnvSource(env_id, 1, "sync", 0, 1, env_check=True, env_kwargs=trained, eval_env_kwargs=played).close()
    assert "\n" not in str(error.value)


def test_an_evaluation_may_have_other_bounds_and_scales() -> None:
    how = {"env_check": True, "env_kwargs": {"space": BOX(0, 9, (4,), np.uint8)}}
    EnvSource("observed:Liar-v0", 1, "sync", 0, 1, eval_env_kwargs={"space": BOX(0, 5, (4,), np.uint8)}, **how).close()
    EnvSource("aiming:Far-v0", 1, "sync", 0, 1, eval_env_kwargs={"space": BOX(-1, 1, (1,)), "best": [0]}).close()


def test_a_run_of_which_no_evaluation_fits_has_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would have observations of"):
        experiment.start(tiny("ppo", tmp_path, env="observed:Locks-v0", eval_env_kwargs={"form": "part"}), quiet=True)
    assert not [*tmp_path.iterdir()]


def test_evaluation_counts_whole_episodes_and_repeats() -> None:
    source = EnvSource("CartPole-v1", 1, "sync", 0, 7)
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
    hint = r"-m pip install 'gymnasium\[classic-control\]'$"
    source = EnvSource("CartPole-v1", 1, "sync", 0, 1)
    with pytest.raises(MissingExtraError, match=hint):
        source.record(Constant(), seed=0)
    source.close()
    with pytest.raises(MissingExtraError, match=hint):  # before a run, also one whose environment is not tried
        EnvSource("CartPole-v1", 1, "sync", 0, 1, video=True, env_check=False)


def test_a_video_of_what_cannot_be_drawn_is_refused_before_the_run() -> None:
    with pytest.raises(
        UsageError, match=r"render\(\) raised NotImplementedError.*; --video needs pictures: mend it, or"
    ):
        EnvSource("observed:Guess-v0", 1, "sync", 0, 1, video=True)


def test_a_run_with_videos_is_evaluated_where_nothing_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment.start(tiny("dqn", tmp_path, name="v", video=True, steps=400), quiet=True)
    assert len(list((tmp_path / "v" / "videos").iterdir())) == 1
    monkeypatch.setattr(EnvSource, "check_video", lambda self: pytest.fail("it asked for pictures"))
    assert inference.evaluate("v", str(tmp_path), episodes=1)["episodes"] == 1


def test_a_video_has_a_frame_for_every_step_at_the_rate_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    source = EnvSource("CartPole-v1", 1, "sync", 0, 1)
    frames: list[np.ndarray] = []
    with closing(source.make_for_play(1, 0, render=True)) as envs:
        length = play(Constant(), envs, 1, frames.append)["returns"][0]
        assert envs.fps == 50.0
    assert len(frames) == length and frames[0].dtype == np.uint8 and frames[0].shape == (400, 600, 3)
    monkeypatch.setattr(video, "encoder", lambda: None)
    clip = source.record(Constant(), seed=0)
    assert clip is not None and clip.suffix == "gif"
    with Image.open(io.BytesIO(clip.data)) as gif:
        assert sum(gif.seek(i) or gif.info["duration"] for i in range(gif.n_frames)) == 20 * length
    source.close()


def test_estimates_stand_beside_the_returns_of_the_same_states() -> None:
    """With reward 1 and gamma 0.5 an episode of k steps realises 2 - 2^(1-k) from its start; every estimate was 3."""
    source = EnvSource("CartPole-v1", 1, "sync", 0, 1)
    result = source.play(Constant(estimate=3.0), 1, seed=0)
    length = int(result["returns"][0])
    expected = np.mean([2 - 0.5 ** (k - 1) for k in range(1, length + 1)])
    assert result["eval/q_realised"] == pytest.approx(expected)
    assert result["eval/q_estimate"] == pytest.approx(3.0)
    source.close()


def test_realised_leaves_out_what_a_time_limit_cut() -> None:
    gamma = 0.5  # 0.5^7 < 0.01: the last six steps before a truncation are cut too early
    values = realised(list(range(10)), [1.0] * 10, terminated=False, discount=gamma)
    assert values.shape == (2, 4)
    assert values[1, 0] == pytest.approx(2 - gamma**9)
    assert realised([0.0] * 10, [1.0] * 10, terminated=True, discount=gamma).shape == (2, 10)
    assert realised([0.0] * 3, [1.0] * 3, terminated=False, discount=1.0).shape == (2, 0)


class Counts(Generative):
    """Reports how bright an image is."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(batch_size=8))
        self.rows_per_turn = 8

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


class Averaging(Counts):
    """Has an average, whose images are dark."""

    averages = True

    def sample(self, num: int, seed: int | None = None, ema: bool = True) -> torch.Tensor:
        return super().sample(num, seed) / (4 if ema else 1)


def test_samples_of_the_average_and_of_the_weights_that_train_are_of_the_same_latents() -> None:
    test = np.zeros((40, 1, 4, 4), dtype=np.uint8)
    source = ImageSource(ImageData("toy", test, test, None, None, None, "memory", ""), CPU)
    found, learner = source.evaluate(Averaging()), Averaging()
    for name, ema in (("grid", True), ("raw", False)):
        images = learner.sample(64, seed=0, ema=ema).numpy()
        assert np.array_equal(found[f"samples/{name}"], np.asarray(grid(images, columns=8))), name
    assert "samples/raw" not in source.evaluate(Counts())


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
