"""A frame is stored once, and every stack and every last observation is still there."""

import numpy as np
import pytest
import torch
from transitions import expected_stacks, make_buffer, stacked_rows

from rlgen.core import frames


def test_final_observations_survive_when_every_step_ends_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The side table holds as many final observations as there are rows, however small it began."""
    monkeypatch.setattr(frames, "FINAL_BYTES", 0)
    buffer = make_buffer(300)
    for t in range(1000):
        buffer.add(
            {
                "obs": torch.tensor([t]),
                "action": torch.tensor([0]),
                "reward": torch.tensor([0.0]),
                "next_obs": torch.tensor([-t]),
                "terminated": torch.tensor([True]),
                "truncated": torch.tensor([False]),
            }
        )
    batch = buffer.sample(2000)
    assert torch.equal(batch["next_obs"], -batch["obs"])
    assert buffer.observations is not None
    assert len(buffer.observations.finals.tables["obs"]) < 2 * 300 + 16


def test_frames_are_stored_once_and_stay_uint8() -> None:
    buffer = make_buffer(1000)
    frame = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    for t in range(1200):
        ended = torch.tensor([t % 100 == 99])
        row = {"obs": frame, "action": torch.zeros(1), "reward": torch.zeros(1), "next_obs": frame}
        buffer.add(row | {"terminated": ended, "truncated": torch.tensor([False])})
    assert buffer.sample(4)["obs"].dtype == torch.uint8
    assert buffer.nbytes < 1.05 * (1000 + 16) * 3 * 16 * 16


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize(("k", "n_step"), [(4, 1), (2, 1), (3, 3)])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("num_rows", [5, 10, 11, 57])
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_stacks_are_those_gymnasium_made(num_envs, k, n_step, junk, num_rows, as_on_gpu) -> None:
    buffer = make_buffer(10 * num_envs, n_step, k, as_on_gpu)
    rows = list(stacked_rows(num_envs, num_rows, k, junk))
    for t, row in enumerate(rows):
        if t == num_rows // 2:  # in the middle of an episode, as far as the ring is concerned
            resumed = make_buffer(10 * num_envs, n_step, k, as_on_gpu)
            resumed.load_state_dict(buffer.state_dict())
            buffer = resumed
        buffer.add(row)
    expected = expected_stacks(rows, 10, n_step)
    batch = buffer.sample(1500)
    assert set(batch["id"].tolist()) == set(expected)
    for i, index in enumerate(batch["id"].tolist()):
        assert np.array_equal(batch["obs"][i].numpy(), expected[index][0]), index
        assert np.array_equal(batch["next_obs"][i].numpy(), expected[index][1]), index
    assert buffer.ring is not None
    assert buffer.ring.columns["obs"].shape[2:] == (2,)  # a frame is stored once


@pytest.mark.parametrize("junk", [False, True])
def test_drained_stacks_reach_back_to_before_the_last_drain(junk: bool) -> None:
    buffer = make_buffer(12, frame_stack=4)
    rows = list(stacked_rows(3, 40, 4, junk))
    for begin in range(0, 40, 4):
        for row in rows[begin : begin + 4]:
            buffer.add(row)
        rollout = buffer.drain()
        valid = rollout["valid"].numpy()  # a junk row's stacks mean nothing
        for name in rows[0]:
            added = np.stack([row[name] for row in rows[begin : begin + 4]])
            assert np.array_equal(rollout[name].numpy()[valid], added[valid]), name
