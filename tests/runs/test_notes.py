"""What is said of a run's environments before it begins."""

from dataclasses import replace

import pytest

from rlgen.core.source import EnvSource
from rlgen.runs import notes

CARD = {"frame_skip": 4, "sticky": 0.25, "life_loss": False}


@pytest.mark.parametrize(
    ("vectorization", "protocol", "said"),
    [
        ("sync", CARD, "Atari's standard task: frame_skip 4, sticky 0.25, life_loss false"),
        ("native", CARD, "Atari's standard task: "),
        ("native", None, "scores, are clipped"),
        ("sync", None, None),
    ],
)
def test_a_game_of_atari_is_said_in_one_line(capsys, vectorization, protocol, said):
    source = EnvSource("CartPole-v1", 1, "sync", seed=0, eval_episodes=1)
    source.close()
    source.env_id, source.vectorization = "ALE/Pong-v5", vectorization
    source.spec = replace(source.spec, protocol=protocol)
    notes.say(source, {})
    err = capsys.readouterr().err
    assert (err.count("\n") == 1 and said in err) if said else err == ""
