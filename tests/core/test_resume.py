"""From whatever checkpoint a run goes on, it ends as if nothing had stopped it: rows, weights, and all of its state."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tiny import assert_equal, comparable, those, tiny

from rlgen import experiment
from rlgen.options import algorithms
from rlgen.runs import checkpoint, rows
from rlgen.runs.again import standing
from rlgen.runs.run import Run
from rlgen.speed import recorded

SIZES = {"steps": 600, "log_every": 70, "eval_every": 180, "checkpoint_every": 30, "keep": 1000}
AGENT = {"vectorization": "sync", "num_envs": 2, "rollout_steps": 32, "buffer_size": 300, "target_every": 16}
AGENT |= {"batch_size": 16, "eval_episodes": 1}
PARTS = ("step", "learner", "source", "buffer", "rng", "best")

Point = Callable[[dict[str, Any], dict[str, Any]], bool]  # of a state and the run's configuration
POINTS: dict[str, Point] = {
    "mid-episode": lambda state, config: any(state["source"].get("length", [])),
    "mid-epoch": lambda state, config: config.get("data") is not None and state["step"] % 1437 != 0,
    "at a target copy": lambda state, config: "target_every" in config and copied(state, config),
    "after the ring wrapped": lambda state, config: 0 < config.get("buffer_size", 0) < state["step"],
    "at an evaluation": lambda state, config: state["step"] in config["evaluated"],
    "between evaluations": lambda state, config: state["step"] not in config["evaluated"],
    "with metrics that are in no row yet": lambda state, config: bool(state["log"]["sums"]),
}
OF_AGENTS = {"mid-episode", "at an evaluation", "between evaluations"}
REACHED = {
    "dqn": {*POINTS} - {"mid-epoch"},
    "double_dqn": {*POINTS} - {"mid-epoch"},
    "ppo": OF_AGENTS,
    "reinforce": OF_AGENTS,
    "recurrent": OF_AGENTS,
    "vae": {"mid-epoch", "at an evaluation", "between evaluations", "with metrics that are in no row yet"},
    "gan": {"mid-epoch", "at an evaluation", "between evaluations", "with metrics that are in no row yet"},
}


def updates(state: dict[str, Any]) -> int:
    number: int = state["learner"]["_extra_state"]["num_updates"]
    return number


def copied(state: dict[str, Any], config: dict[str, Any]) -> bool:
    return updates(state) % (config["target_every"] // config["train_every"]) == 0


def small(algo: str, folder: Path, **more: Any) -> dict[str, Any]:
    known = tiny(algo, folder)
    return tiny(algo, folder, **{name: value for name, value in (AGENT | SIZES | more).items() if name in known})


def chosen(run: Run) -> dict[int, list[str]]:
    """Steps to go on from, with the points that they stand for: of each point one after half of the run."""
    states = [checkpoint.load(run.checkpoints, step) for step in checkpoint.steps(run.checkpoints)[:-1]]
    states = [state for state in states if state["step"] > run.steps / 2 and updates(state) > 10]
    evaluated = [row["step"] for row in comparable(run.path) if any(name.startswith("eval/") for name in row)]
    steps: dict[int, list[str]] = {}
    for name, reached in POINTS.items():
        found = [state["step"] for state in states if reached(state, run.config | {"evaluated": evaluated})]
        if found:
            steps.setdefault(found[0], []).append(name)
    return steps


def killed_after(whole: Run, step: int, name: str) -> Path:
    """What a run leaves that was killed some time after this checkpoint: rows beyond it are already written."""
    path = whole.path.with_name(name)
    shutil.copytree(whole.path, path)
    for later in checkpoint.steps(path / "checkpoints"):
        if later > step:
            shutil.rmtree(checkpoint.directory(path / "checkpoints", later))
    return path


def assert_same_end(one: Run, other: Run) -> None:
    assert_equal(comparable(one.path), comparable(other.path), "rows")
    assert rows.digests(one.path) == rows.digests(other.path)
    state, expected = other.load(), one.load()
    for part in PARTS:
        assert_equal(state[part], expected[part], part)
    for path in (one.path, other.path):
        assert (path / "weights.safetensors").stat().st_size > 0


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("recurrent", "recurrent", "rlgen.algorithms")
    monkeypatch.setattr(algorithms, "entry_points", lambda group: [entry])


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize(
    ("algo", "how"),
    [
        *(
            pytest.param(*each.values, "recorded", marks=each.marks)
            for each in those("dqn", "ppo", "reinforce", "vae", "gan", "rainbow")
        ),
        *(pytest.param(*each.values, "eager", marks=each.marks) for each in those("dqn", "gan")),
        ("recurrent", "eager"),  # a long unrolled step
        *product(["dqn", "ppo", "recurrent"], ["normalised"]),
    ],
)
def test_every_point_leads_to_the_same_end(
    algo: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    recordings = []
    record = recorded.Recorded._record
    monkeypatch.setattr(recorded.Recorded, "_record", lambda *args: (recordings.append(1), record(*args))[1])
    more = dict.fromkeys(("normalize_obs", "normalize_reward", "prioritized"), how == "normalised")
    whole = experiment.start(small(algo, tmp_path, name="whole", graph=how == "recorded", **more), quiet=True)
    assert bool(recordings) == (how == "recorded")

    points = chosen(whole)
    assert {name for names in points.values() for name in names} >= REACHED.get(algo, {"at an evaluation"})
    for step in points:
        killed_after(whole, step, f"from-{step}")
        assert_same_end(whole, experiment.resume(f"from-{step}", str(tmp_path), quiet=True))


@pytest.mark.parametrize(
    ("algo", "normalised"),
    [*(pytest.param(*each.values, False, marks=each.marks) for each in those("dqn", "rainbow")), ("ppo", True)],
)
def test_a_seed_that_was_trained_beside_others_goes_on_from_all_of_its_state(
    algo: str, normalised: bool, tmp_path: Path
) -> None:
    """Alone its steps round otherwise, but nothing of its state is another seed's, and it repeats itself."""
    more = {"normalize_obs": normalised, "normalize_reward": normalised}
    config = small(algo, tmp_path, name="many", steps=600, **more)
    trained = experiment.start_seeds(config, range(2), quiet=True)[1]
    assert isinstance(trained, Run)
    step = max(chosen(trained))
    first, second = (killed_after(trained, step, f"from-{step}-{number}") for number in (1, 2))
    before = checkpoint.load(first / "checkpoints", step)
    learner, source, buffer = experiment.build(trained.config)
    run = Run.open(second)
    with run.running():
        log = experiment.RunLog(run, "disabled", quiet=True)
        run.restore(learner, source, buffer, log)
        run.save(learner, source, buffer, log)
        log.close()
    source.close()
    again = checkpoint.load(second / "checkpoints", step)
    for part in PARTS:
        assert_equal(again[part], before[part], part)
    assert_same_end(*(experiment.resume(path.name, str(tmp_path), quiet=True) for path in (first, second)))


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["dqn", "ppo", "vae", "gan"])
def test_fifty_random_kills_change_nothing(algo: str, tmp_path: Path) -> None:
    """SIGKILL at random moments: while building, training, evaluating, saving. It goes on as a queued job does."""
    rng, context = random.Random(algo), multiprocessing.get_context("fork")
    kills = int(os.environ.get("RLGEN_TEST_KILLS", 50))
    done = rounds = 0
    options = {"steps": 6000, "log_every": 500, "eval_every": 2000, "checkpoint_every": 40, "keep": 2}
    whole = experiment.start(small(algo, tmp_path, name="whole", **options), quiet=True)
    while done < kills:
        rounds += 1
        config = small(algo, tmp_path, name=f"killed-{rounds}", **options)
        while (where := standing(config)) != "finished":
            process = context.Process(target=_train if where == "new" else _resume, args=(config,))
            process.start()
            process.join(rng.uniform(0, 1.5) if done < kills else None)
            if process.exitcode is None:
                os.kill(process.pid or 0, signal.SIGKILL)
                process.join()
                done += 1
            else:
                assert process.exitcode == 0
        assert_same_end(whole, Run.open(tmp_path / config["name"]))
    print(f"{algo}: {done} kills in {rounds} runs, {time.process_time():.0f} s")


def _train(config: dict[str, Any]) -> None:
    experiment.start(config, quiet=True)


def _resume(config: dict[str, Any]) -> None:
    experiment.resume(config["name"], config["runs_dir"], quiet=True)
