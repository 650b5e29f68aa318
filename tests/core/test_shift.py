"""Random shifts of pictures: what is cut out is what NumPy pads and cuts; chance is even, and the same everywhere."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_graph import FakeGraph
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.spaces import Space as AnySpace
from specs import spec_of, stored
from tiny import assert_resumed_equal, comparable, tiny

from agents import dqn
from rlgen import experiment
from rlgen.core.batch import LazyBatch
from rlgen.core.buffer import Buffer
from rlgen.core.ring import Tensors
from rlgen.core.shift import RandomShift
from rlgen.envs.parts import stacked, stored_as
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError

Space = AnySpace[Any]
COLOUR = Box(0, 255, (6, 7, 3), np.uint8)
SPACES: dict[str, Space] = {
    "channels last": COLOUR,
    "channels first": Box(0, 255, (3, 6, 7), np.uint8),
    "grey": Box(0, 255, (6, 7), np.uint8),
    "numbers": Box(0, 1, (6, 7, 3)),
    "of bool": Box(0, 1, (6, 7, 4), np.bool_),
    "beside numbers": Dict(camera=COLOUR, gear=Discrete(3), speed=Box(-9, 9, (2,))),
    "two of them": Dict(camera=COLOUR, depth=Box(0, 1, (5, 5, 2)), speed=Box(-9, 9, (1,))),
    "no bytes": Dict(depth=Box(0, 1, (6, 7, 3)), speed=Box(-9, 9, (2,))),
}
FRAME = np.arange(25, dtype=np.uint8).reshape(5, 5)  # every pixel says where it was


def of_frames(spec: EnvSpec, num: int) -> EnvSpec:
    """The same of stacks of so many."""
    parts = stacked(spec.parts, num)
    shape, dtype = stored_as(parts)
    return replace(spec, obs_parts=parts, obs_shape=shape, obs_dtype=dtype, frame_stack=num)


def padded_and_cut(value: Any, space: Space, pixels: int, down: int, right: int) -> Any:
    """One observation, with NumPy's own padding."""
    if isinstance(space, Dict):
        return {name: padded_and_cut(value[name], each, pixels, down, right) for name, each in space.items()}
    if not isinstance(space, Box) or len(space.shape) < 2:
        return value
    rows = 1 if space.shape[0] == 3 else 0  # the axis of the height
    width = [(0, 0)] * rows + [(pixels, pixels)] * 2
    larger = np.pad(value, width + [(0, 0)] * (value.ndim - len(width)), mode="edge")
    height, breadth = space.shape[rows : rows + 2]
    where = [slice(None)] * rows + [slice(down, down + height), slice(right, right + breadth)]
    return larger[tuple(where)]


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("name", SPACES)
def test_pictures_are_padded_by_their_edges_and_cut_and_nothing_else_changes(name: str, frames: int) -> None:
    space, pixels = SPACES[name], 2
    space.seed(0)
    spec = spec_of(space)
    by = torch.tensor([*product(range(2 * pixels + 1), repeat=2)])  # every shift
    samples = [[space.sample() for _ in by] for _ in range(frames)]
    arrays = [stored(spec, space, each) for each in samples]
    wanted = [
        stored(
            spec, space, [padded_and_cut(value, space, pixels, *where) for value, where in zip(each, by, strict=True)]
        )
        for each in samples
    ]
    stacks = frames > 1
    obs, expected = (np.stack(each, 1) if stacks else each[0] for each in (arrays, wanted))
    shift = RandomShift(of_frames(spec, frames) if stacks else spec, pixels)
    seen = torch.from_numpy(obs.copy())
    moved = shift.moved(seen, *by.T)
    assert np.array_equal(moved.numpy(), expected) and moved.dtype == seen.dtype
    assert np.array_equal(seen.numpy(), obs), "what was drawn stays as it is: stacks share their frames"
    middle = (by == pixels).all(1).nonzero().item()
    assert torch.equal(moved[middle], seen[middle]) and not torch.equal(moved, seen)  # type: ignore[index]


def frames_buffer(pixels: int, as_on_gpu: bool = False, frames: int = 3, n_step: int = 1) -> Buffer:
    """Stacks of one picture, over and over."""
    generator = torch.Generator().manual_seed(0)
    shift = RandomShift(of_frames(spec_of(Box(0, 255, (5, 5), np.uint8)), frames), pixels)
    buffer = Buffer(64, n_step=n_step, frame_stack=frames, augment=shift, generator=generator)
    if as_on_gpu:
        buffer.backend = Tensors(generator)
    stack, no = np.stack([FRAME] * frames)[None], np.array([False])
    row = {"obs": stack, "action": np.zeros(1, np.int64), "reward": np.zeros(1, np.float32), "next_obs": stack}
    buffer.add(*[row | {"terminated": no, "truncated": no} for _ in range(20)])
    return buffer


def shifts(obs: torch.Tensor) -> np.ndarray:
    """By what moved the middle: of stacks [B, k, 5, 5] numbers in [0, 9), where p is 1; of all frames the same."""
    middle = obs[:, :, 2, 2].numpy().astype(int)  # [B, k]
    assert (middle == middle[:, :1]).all()
    return 3 * (middle[:, 0] // 5 - 1) + middle[:, 0] % 5 - 1


@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_every_shift_is_as_likely_and_those_of_obs_and_next_obs_are_independent(as_on_gpu: bool) -> None:
    buffer = frames_buffer(1, as_on_gpu)
    batch = buffer.sample(81 * 100)
    pairs = np.bincount(9 * shifts(batch["obs"]) + shifts(batch["next_obs"]), minlength=81)
    statistic = ((pairs - 100) ** 2 / 100).sum()
    assert 45 < statistic < 130, "chi-square of 80 degrees of freedom: 0.1 % beyond either"
    assert (shifts(batch["obs"])[1:] != shifts(batch["obs"])[:-1]).mean() > 0.8, "and every sample has its own"
    again = buffer.sample(81 * 100)
    assert not torch.equal(again["obs"], batch["obs"])


def test_a_batch_on_a_gpu_is_moved_where_it_is_drawn() -> None:
    """Inside a CUDA graph, which may wait for nothing; for whoever reads it the same."""
    buffer, other = frames_buffer(1, as_on_gpu=True), frames_buffer(1, as_on_gpu=True)
    batch = buffer.sample(8)
    assert isinstance(batch, LazyBatch) and batch.tensors is None
    assert torch.equal(batch["obs"], batch["obs"]) and batch.key == buffer.sample(8).key
    buffer.backend.generator.set_state(other.backend.generator.get_state())
    graph, inside = FakeGraph(), batch.undrawn()
    captured = graph.capture(lambda: [inside["obs"], inside["next_obs"]], [buffer.backend.generator])
    for _ in range(3):
        graph.replay()
        expected = other.sample(8)
        assert torch.equal(captured[0], expected["obs"]) and torch.equal(captured[1], expected["next_obs"])


def test_batches_drawn_together_are_each_moved() -> None:
    """On a CPU small transitions are gathered for several batches at once."""
    buffer = frames_buffer(1)
    assert buffer.together >= 2 * 90
    parts = [*buffer.samples(2, 90)]
    assert {*np.unique(np.concatenate([shifts(part["obs"]) for part in parts]))} == {*range(9)}


def test_what_is_drained_is_not_moved() -> None:
    assert all(np.array_equal(frame, FRAME) for frame in frames_buffer(1).drain()["obs"].flatten(0, 2))


def picture_agent(**options: Any) -> Any:
    torch.manual_seed(0)
    return dqn.DQN(dqn.Config(hidden=(8,), batch_size=64, **options), spec_of(Box(0, 255, (5, 5), np.uint8)))


@pytest.mark.parametrize("prioritized", [False, True])
def test_an_agent_learns_from_moved_pictures_and_keeps_them_as_they_came(prioritized: bool) -> None:
    seen = {}
    for pixels in (0, 2):
        agent = picture_agent(shift=pixels, prioritized=prioritized, learning_starts=1, train_every=1)
        buffer, no = agent.make_buffer(), np.array([False])
        row = {"obs": FRAME[None], "action": np.array([1]), "reward": np.ones(1, np.float32), "next_obs": FRAME[None]}
        buffer.add(*[row | {"terminated": no, "truncated": no} for _ in range(5)])
        seen[pixels] = next(agent.batches(buffer))
        agent.learn(seen[pixels])
        assert all(np.array_equal(frame, FRAME) for frame in buffer.ring.columns["obs"][:5, 0])
    assert all(np.array_equal(frame, FRAME) for frame in seen[0]["obs"])
    moved = {tuple(frame.flatten().tolist()) for frame in seen[2]["obs"]}
    assert len(moved) > 15, "25 are possible"
    assert seen[0].keys() == seen[2].keys() and torch.equal(seen[2]["reward"], seen[0]["reward"])


def test_what_cannot_be_moved_is_refused_in_a_line() -> None:
    numbers = spec_of(Box(-1, 1, (3,), np.float32))
    with pytest.raises(UsageError, match="observations of Toy-v0 have no pictures to move: leave --shift 4 out"):
        dqn.DQN(dqn.Config(shift=4), numbers)
    with pytest.raises(UsageError, match="pictures of Toy-v0 have a side of 5 pixels: --shift 5 must be below"):
        picture_agent(shift=5)


def test_a_resumed_run_moves_pictures_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    config = tiny("dqn", tmp_path, env="observed:Room-v0", name="whole", steps=400, keep=100, shift=2, frame_stack=2)
    whole = experiment.start(config, quiet=True)
    assert_resumed_equal(whole, 300)
    plain = experiment.start(config | {"shift": 0, "name": "plain"}, quiet=True)
    assert comparable(plain.path) != comparable(whole.path)
