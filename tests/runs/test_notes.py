"""What is said of a run's environments before it begins."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny

from rlgen import experiment
from rlgen.core.image_source import ImageSource
from rlgen.core.source import EnvSource
from rlgen.data.images import ImageData
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


@pytest.mark.parametrize(
    ("held_out", "eval_samples", "said"), [(9, 2000, True), (20, 9, True), (20, 10, False), (9, 0, False)]
)
def test_samples_that_are_not_compared_are_said(held_out, eval_samples, said, capsys):
    images = np.random.RandomState(0).randint(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    data = ImageData("mine", images, images[:held_out], None, None, None, "memory", {})
    notes.say(ImageSource(data, torch.device("cpu"), eval_samples), {})
    line = f"--eval-samples is {eval_samples}, the number of held-out images {held_out}, both must be at least 10"
    assert (f"samples are not compared: {line}" in capsys.readouterr().err) == said


def test_what_is_said_of_environments_is_said_once_a_run(tmp_path, capsys):
    short = {"steps": 60, "learning_starts": 20, "eval_episodes": 1, "eval_max_episode_steps": 9}
    experiment.start(tiny("dqn", tmp_path, env="observed:Guess", name="mine", **short))
    line = "environment 'observed:Guess' has no time limit: evaluation cuts its episodes after 9 steps"
    assert line in capsys.readouterr().err
    experiment.resume("mine", str(tmp_path), 90)
    err = capsys.readouterr().err
    assert "mine goes on at step 60" in err and "no time limit" not in err
    experiment.fork("mine", {"steps": 120}, str(tmp_path), "other")
    assert line in capsys.readouterr().err, "another run"


def test_what_resume_needs_of_what_was_passed_from_python_is_said(capsys):
    source = EnvSource("CartPole-v1", 1, "sync", seed=0, eval_episodes=1)
    source.close()
    source.options["wrappers"] = ["my_env:Halved", "passed:soft-012345", "passed:hard-6789ab", "passed:soft-012345"]
    for env_id, how in (("CartPole-v1", ""), ("passed:make_env-012345", "env=make_env, ")):
        source.env_id = env_id
        notes.say(source, {})
        assert f"pass it again: rlgen.resume(run, {how}wrapper=[soft, hard])\n" in capsys.readouterr().err
    source.options["wrappers"] = ["my_env:Halved"]
    source.env_id = "CartPole-v1"
    notes.say(source, {})
    assert capsys.readouterr().err == ""
