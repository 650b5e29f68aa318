"""Whether a run can be repeated: its first steps are trained again, and compared with what it wrote."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

from rlgen import experiment
from rlgen.errors import DivergedError, InterruptedRunError, UsageError
from rlgen.runs import exactness, rows
from rlgen.runs.about import provenance
from rlgen.runs.find import find
from rlgen.runs.records import check_ranks, read_config
from rlgen.runs.run import Run
from rlgen.runs.show import flattened
from rlgen.runs.weights import digest

MAX_STEPS = 100_000  # trained again unless more are asked for
TIMES = {"time", "charts/SPS"}  # metrics that tell of the clock on the wall


def is_compared(name: str) -> bool:
    """Whether a metric is what training computes: those of health are of what watches it, which older runs lack."""
    return name not in TIMES and not name.startswith(rows.HEALTH)


class EnoughError(Exception):
    """The steps that are compared have been trained."""


def verify(run: str, runs_dir: str = "runs", steps: int | None = None) -> dict[str, Any]:
    """Train the first steps of a run again, in a temporary directory, and compare rows and weights bit for bit.

    Args:
        run: a name, a directory, a unique prefix, or `last`.
        runs_dir: where names are looked for.
        steps: how many; None goes to the first checkpoint that something was learned before, 100,000 at most.

    Returns:
        `repeated`; `steps`, `rows` and `weights`, the numbers compared; `differs`, the first difference or None;
        `since`, what of versions and machine is another one now, as [then, now] by name; `problems`, for people.

    Raises:
        UsageError: there is nothing to compare, or the run began with another's state, or other data.
    """
    opened = Run.open(find(run, runs_dir))
    check_ranks(opened.name, opened.info)
    if parent := opened.info.get("parent"):
        of = parent if isinstance(parent, str) else parent["run"]
        raise UsageError(f"run {opened.name} began with the state of {of}, of which it is a fork; verify that")
    expected = Written(opened.path)
    until = last_step(opened, expected, steps)
    with tempfile.TemporaryDirectory(prefix="rlgen-verify-") as folder:
        again = train_again(opened, until, Path(folder))
        found, info = Written(again), read_config(again)[0]
    first = first_difference(expected, found, until)
    own_files = {"own_files": info["own_files"]} if opened.info.get("own_files") else {}
    now = provenance() | own_files
    then = flattened({name: opened.info.get(name) for name in now})
    since = {name: [then.get(name), value] for name, value in flattened(now).items() if then.get(name) != value}
    problems = []
    if first:
        what = f"{first['name']} at step {first['step']:,} was {first['then']}, now it is {first['now']}"
        changed = f"; since then other: {', '.join(since)}" if since else "; versions and machine are the same"
        problems = [f"run {opened.name} was not repeated: {what}{changed}"]
    compared = {"rows": len(found.up_to(until)), "weights": len(expected.weights.keys() & found.weights.keys())}
    result = {"run": opened.name, "repeated": not first, "steps": until, **compared}
    return result | {"differs": first, "since": since, "problems": problems}


class Written:
    """What a run wrote.

    Args:
        path: its directory.

    Attributes:
        rows: of metrics.jsonl, without times.
        weights: digests by step.
    """

    def __init__(self, path: Path) -> None:
        self.rows = [
            {name: value for name, value in row.items() if is_compared(name)} for row in rows.read_metrics(path)
        ]
        self.weights = rows.digests(path)
        self.last_step = max((row["step"] for row in self.rows), default=0)

    def up_to(self, step: int) -> list[dict[str, Any]]:
        """The rows up to a step."""
        return [row for row in self.rows if row["step"] <= step]


def last_step(run: Run, written: Written, asked: int | None) -> int:
    """The step up to which a run is repeated.

    Raises:
        UsageError: it has none, or fewer than were asked for.
    """
    last = min([written.last_step, *(extended["at"] for extended in run.info.get("extended", []))])
    if not last:
        raise UsageError(f"run {run.name} has no rows that could be compared; train it again")
    if asked is not None and asked > last:
        raise UsageError(f"--steps {asked} is beyond step {last} of run {run.name}; give at most that")
    losses = [row["step"] for row in written.rows if any(name.startswith("losses/") for name in row)]
    learned = min(losses, default=0)
    saved = [step for step in written.weights or [run.config["checkpoint_every"]] if step >= learned]
    return asked or min(last, MAX_STEPS, *saved)


def train_again(run: Run, until: int, folder: Path) -> Path:
    """Train a run's first steps as it did, the seeds beside it too if it had some; returns its new directory."""
    ended = False

    class Again(Run):
        """A run that ends early, and leaves digests instead of checkpoints."""

        def save(self, learner: Any, source: Any, buffer: Any, log: Any) -> None:
            log.state_dict(digest(learner.state_dict()))
            if self._candidate and self._candidate["step"] == self.step:
                self.best, self._candidate = self._candidate, None

        def _interruption(self) -> InterruptedRunError:
            return InterruptedRunError("stopped by a signal; nothing was compared", self._signum)

        def raise_if_interrupted(self) -> None:
            nonlocal ended
            self.give_up()
            ended = ended or (self.seed == run.seed and self.step >= until)
            if ended:  # until then the other seeds stay
                raise EnoughError

    steps = run.info["extended"][0]["from"] if run.info.get("extended") else run.steps
    where = {"device": exactness.device_of(run.info)}
    config = run.config | where | {"steps": steps, "wandb": "disabled", "runs_dir": str(folder), "name": "again"}
    seeds = run.info.get("together")
    try:
        if seeds:
            result = experiment.start_seeds(config, seeds, quiet=True, kind=Again)[run.seed]
            if isinstance(result, BaseException):
                raise result
        else:
            experiment.start(config, quiet=True, kind=Again)
    except (EnoughError, DivergedError):  # it may have diverged the first time too
        pass
    return folder / (f"again-{run.seed}" if seeds else "again")


def first_difference(expected: Written, found: Written, until: int) -> dict[str, Any] | None:
    """Where two runs first differ up to a step: `step`, `name`, `then`, `now`; None where they do not."""
    differences = []
    nothing: dict[str, Any] = {}
    for then, now in itertools.zip_longest(expected.up_to(until), found.up_to(until), fillvalue=nothing):
        names = [name for name in {**then, **now} if not same(then.get(name), now.get(name))]
        if names:
            name = "step" if "step" in names else names[0]
            step = (then or now)["step"]
            differences.append({"step": step, "name": name, "then": then.get(name), "now": now.get(name)})
            break
    for step in sorted(expected.weights.keys() & found.weights.keys()):
        then_digest, now_digest = expected.weights[step], found.weights[step]
        if step <= until and then_digest != now_digest:
            differences.append({"step": step, "name": "digest of weights", "then": then_digest, "now": now_digest})
            break
    return min(differences, key=lambda each: each["step"], default=None)


def same(then: Any, now: Any) -> bool:
    """Whether two values are the same, NaN included."""
    return then == now or (then != then and now != now)
