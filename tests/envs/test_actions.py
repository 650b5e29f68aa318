import numpy as np
import pytest

from rlgen.envs.actions import ActionLog
from rlgen.envs.spec import EnvSpec


def spec(num_actions=None, action_shape=(), num_choices=()):
    return EnvSpec("Toy-v0", (2,), "float32", num_actions, action_shape, (), (), num_envs=3, num_choices=num_choices)


@pytest.mark.parametrize(
    ("spec", "row_bytes"),
    [
        (spec(6), 3),
        (spec(300), 6),
        (spec(None, (2,)), 24),
        (spec(None, (1, 2)), 24),
        (spec(None, (2,), (3, 2)), 6),
        (spec(None, (1, 2), (3, 300)), 12),
    ],
)
def test_actions_come_back_as_they_were(spec, row_bytes):
    rng, shape = np.random.default_rng(0), (5, 3, *spec.action_shape)
    most = np.reshape(spec.num_choices, spec.action_shape) if spec.num_choices else spec.num_actions
    actions = rng.normal(size=shape).astype("f4") if most is None else rng.integers(0, most, shape)
    log = ActionLog(spec)
    for action in actions:
        log.packed += action.astype(log.packed_dtype).tobytes()
    assert len(log.packed) == 5 * row_bytes
    assert np.array_equal(log.unpack(5), actions)
    assert log.unpack(5).dtype == actions.dtype

    log.forget_before(2)
    assert log.start == 2
    assert np.array_equal(log.unpack(3), actions[2:])
    copy = ActionLog(spec)
    copy.restart(log.start, bytes(log.packed))
    copy.forget_before(4)
    assert np.array_equal(copy.unpack(1), actions[4:])
    assert np.array_equal(log.unpack(3), actions[2:])

    log.restart(9)
    assert (log.start, len(log.unpack(0))) == (9, 0)
