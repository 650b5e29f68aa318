"""A signal interrupts an evaluation; in the end the rows are those of a run that nobody interrupted."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from acting import Constant
from tiny import assert_equal, comparable, those, tiny
from toy_runs import make_run, parts, quiet

from rlgen import experiment
from rlgen.core import evaluation
from rlgen.core.image_source import ImageSource
from rlgen.core.interruption import EvaluationInterrupted
from rlgen.core.learner import Agent, Generative
from rlgen.core.play import play
from rlgen.core.source import EnvSource
from rlgen.errors import InterruptedRunError
from rlgen.options import algorithms
from rlgen.runs.run import Run


@pytest.mark.parametrize("algo", those("ppo", "dqn"))
def test_rows_equal_those_of_an_uninterrupted_run(algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted at the first evaluation, at that again, and at the last one."""
    whole = experiment.start(tiny(algo, tmp_path, name="whole"), quiet=True)
    evaluations: list[int] = []
    kill_at = {1, 2, 5}
    kind: type = algorithms.load(algo)
    place, name = (EnvSource, "play") if issubclass(kind, Agent) else (kind, "evaluate")
    original = getattr(place, name)

    def killing(*args: Any, **kwargs: Any) -> Any:
        evaluations.append(1)
        if len(evaluations) in kill_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    monkeypatch.setattr(place, name, killing)
    stops = []
    with pytest.raises(InterruptedRunError, match="SIGTERM, saved at step") as stopped:
        experiment.start(tiny(algo, tmp_path, name="part"), quiet=True)
    while stopped is not None:
        assert stopped.value.exit_code == 143
        run = Run.open(tmp_path / "part")
        assert run.load()["eval_due"] and run.step == run.load()["step"]
        rows = comparable(run.path)
        assert not any(name.startswith("eval/") for row in rows if row["step"] == run.step for name in row)
        stops.append(run.step)
        try:
            part, stopped = experiment.resume("part", str(tmp_path), quiet=True), None
        except InterruptedRunError as error:
            stopped = pytest.ExceptionInfo.from_exception(error)
    assert stops[0] == stops[1] and stops[2] == whole.step
    assert_equal(comparable(part.path), comparable(whole.path))
    assert_equal(part.load()["learner"], whole.load()["learner"])
    assert part.best == whole.best and not part.load()["eval_due"]
    assert (part.path / "weights.safetensors").exists()


@pytest.mark.parametrize("what", ["evaluate", "sample"])
def test_a_generative_evaluation_ends_at_the_next_network_that_is_called(what: str, tmp_path: Path) -> None:
    learner, source, _ = experiment.build(tiny("vae", tmp_path))
    assert isinstance(learner, Generative) and isinstance(source, ImageSource)
    asked: list[str] = []
    original = getattr(learner, what)
    object.__setattr__(learner, what, lambda *args, **kwargs: (asked.append(what), original(*args, **kwargs))[1])
    with pytest.raises(EvaluationInterrupted):
        source.evaluate(learner, interrupted=lambda: bool(asked))
    assert not any(module._forward_pre_hooks for module in learner.modules())
    assert "samples/grid" in source.evaluate(learner)


def test_a_video_is_interrupted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, source, _ = experiment.build(tiny("dqn", tmp_path, video=True))
    filming: list[bool] = []

    def noticing(agent: Agent, envs: Any, episodes: int, film: Any = None, interrupted: Any = None) -> dict[str, Any]:
        filming.append(film is not None)
        return play(agent, envs, episodes, None, interrupted)

    monkeypatch.setattr("rlgen.core.source.play", noticing)
    with pytest.raises(EvaluationInterrupted):
        source.evaluate(learner, interrupted=lambda: True in filming)
    source.close()


def test_an_interrupted_evaluation_has_taken_no_random_numbers(tmp_path: Path) -> None:
    run, (learner, source, _) = make_run(tmp_path), parts()

    def draw() -> list[float]:
        own = torch.rand((), generator=learner.generator).item()
        return [own, torch.rand(()).item(), np.random.random(), random.random()]

    def evaluate(learner: Any, final: bool, interrupted: Any) -> dict[str, Any]:
        drawn.append(draw())
        raise EvaluationInterrupted

    drawn: list[list[float]] = []
    source.evaluate = evaluate
    run.step = 10
    assert not evaluation.evaluate(learner, source, run, quiet(run))
    assert run.eval_due and not (run.path / "metrics.jsonl").exists()
    assert draw() == drawn[0]
    assert draw() != drawn[0]


def test_a_row_of_an_evaluation_that_is_due_is_not_kept(tmp_path: Path) -> None:
    """A crash after the row and before the checkpoint, of a run that takes up an interrupted evaluation."""
    run, trained = make_run(tmp_path, "mine"), parts()
    log = quiet(run)
    run.step, run.eval_due = 10, True
    log.write(10, {"charts/episodic_return": 1.0})
    run.save(*trained, log)
    log.write(10, {"eval/episodic_return": 5.0}, kind="eval")
    resumed = Run.open(run.path)
    resumed.restore(*parts(), quiet(resumed))
    assert [row["step"] for row in comparable(run.path)] == [10]
    evaluation.catch_up(*parts(), resumed, quiet(resumed))
    assert len(comparable(run.path)) == 2 and not resumed.load()["eval_due"]


@pytest.mark.parametrize("limit", [5, 7])
def test_episodes_of_an_evaluation_end_where_the_environment_has_no_limit(limit: int, capsys: Any) -> None:
    source = EnvSource("CliffWalking-v1", 2, "sync", 0, 3, eval_max_episode_steps=limit)
    assert not source.has_time_limit
    assert source.evaluate(Constant())["eval/episodic_length"] == limit
    source.close()
    limited = EnvSource("CartPole-v1", 1, "sync", 0, 1, eval_max_episode_steps=2)
    assert limited.has_time_limit and limited.evaluate(Constant())["eval/episodic_length"] > 2
    limited.close()


def test_the_limit_is_said_once(tmp_path: Path, capsys: Any) -> None:
    options = {"env": "CliffWalking-v1", "eval_max_episode_steps": 10, "steps": 300, "eval_every": 100}
    experiment.start_seeds(tiny("reinforce", tmp_path, **options), range(2))
    err = capsys.readouterr().err
    assert err.count("'CliffWalking-v1' has no time limit: evaluation cuts its episodes after 10 steps") == 1
