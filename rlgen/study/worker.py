"""A worker of a study: takes a trial that waits, trains its seeds from rung to rung, and reports their mean."""

from __future__ import annotations

import contextlib
import re
import signal
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlgen.errors import InterruptedRunError, UsageError, one_line
from rlgen.runs import stopping
from rlgen.study import ablation, pareto, seeds, storage
from rlgen.study.record import Study
from rlgen.study.seeds import DivergedTrialError, FailedTrialError
from rlgen.study.show import described
from rlgen.text import cell, warn

if TYPE_CHECKING:
    import optuna

ALIKE = 3  # trials that fail for the same reason before any has a score
NAP = 1.0  # seconds between two looks for a trial that waits


class FencedError(Exception):
    """The trial was given to another worker, as this one gave no sign of life."""


def work(study: Study, jobs: int) -> None:
    """Train trials until none waits and none is being trained.

    Args:
        study: whose.
        jobs: seeds that train at a time.

    Raises:
        InterruptedRunError: a signal asked to stop; runs are saved, and the trial waits again.
        RlgenError: no trial can be trained: the disk is full, a package is missing, the storage does not answer.
    """
    waited, reasons = False, list[str]()
    with stopping.handling(quiet=True), storage.working(study), quiet_threads(), storage.opened(study) as found:
        while True:
            check_signals(study)
            with Claim(study) as claim:
                left = states(found)
                if left["WAITING"] or recovered(found) or finals_begun(study, found):
                    waited = False
                    reasons.append(take_trial(study, found, claim, jobs))
                    check_blame(study, found, reasons)
                    continue
            if not left["RUNNING"]:
                return
            if not waited:
                print(f"no trial waits; {left['RUNNING']} of other workers are not over", flush=True)
            waited = True
            time.sleep(NAP)


def states(found: optuna.Study) -> dict[str, int]:
    """How many trials are in each of Optuna's states."""
    import optuna

    trials = found.get_trials(deepcopy=False)
    return {state.name: sum(trial.state == state for trial in trials) for state in optuna.trial.TrialState}


def recovered(found: optuna.Study) -> int:
    """How many trials wait, once those of workers that are silent do too."""
    import optuna

    optuna.storages.fail_stale_trials(found)
    return states(found)["WAITING"]


def finals_begun(study: Study, found: optuna.Study) -> int:
    """Let the final trials of an ablation wait, once its tuning is over; returns how many they are."""
    if not study.is_ablation or states(found)["RUNNING"]:
        return 0
    return ablation.begin_finals(study, found, [described(study, trial) for trial in found.get_trials(deepcopy=False)])


def check_signals(study: Study) -> None:
    """Stop where a signal asks to.

    Raises:
        InterruptedRunError: it does.
    """
    if signum := stopping.asked():
        name = signal.Signals(signum).name
        raise InterruptedRunError(f"stopped by {name}; go on with: rlgen study work {study.name}", signum)


@contextlib.contextmanager
def quiet_threads() -> Any:
    """If Optuna's thread for signs of life ends with an error, say so in one line."""
    before = threading.excepthook
    threading.excepthook = lambda args: warn(f"no sign of life could be given: {args.exc_value}".split("\n")[0])
    try:
        yield
    finally:
        threading.excepthook = before


class Claim:
    """The lock of a study, held until a trial has its values: a worker at a time takes one."""

    def __init__(self, study: Study) -> None:
        self._stack, self._study = contextlib.ExitStack(), study

    def __enter__(self) -> Claim:
        self._stack.enter_context(storage.lock(self._study.path))
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Let another worker take one."""
        self._stack.close()


def check_blame(study: Study, found: optuna.Study, reasons: Sequence[str]) -> None:
    """Stop before every trial fails for what no value is to blame for: a module that is not found, a broken machine.

    Args:
        study: whose.
        found: its trials.
        reasons: why the trials of this worker failed, in order; "" of one that did not, or that diverged.

    Raises:
        UsageError: the last ones failed alike, and none of the study has a score.
    """
    last = {re.sub(r"^seed \d+: ", "", reason) for reason in reasons[-ALIKE:]}
    if len(reasons) < ALIKE or len(last) > 1 or last == {""} or states(found)["COMPLETE"]:
        return
    again = f"rlgen study work {study.name} --retry-failed"
    raise UsageError(f"the last {ALIKE} trials failed alike: {last.pop()} (mend that, then {again})")


def retry_failed(study: Study) -> int:
    """Let the trials that failed wait again; returns how many they are."""
    import optuna

    again = optuna.storages.RetryHeartbeatStaleTrialCallback()
    with storage.opened(study) as found, Claim(study):
        trials = found.get_trials(deepcopy=False)
        retried = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
        failed = [
            trial for trial in trials if trial.state == optuna.trial.TrialState.FAIL and trial.number not in retried
        ]
        for trial in failed:
            again(found, trial)
    return len(failed)


def take_trial(study: Study, found: optuna.Study, claim: Claim, jobs: int) -> str:
    """Train a trial that waits, inside Optuna's `optimize`: only there are signs of life given.

    Returns:
        Why it failed; "" where it did not, or diverged.
    """
    import optuna

    objective = Objective(study, found, claim, jobs)
    left = states(found)
    found.sampler = storage.sampler(study, sum(left.values()) - left["WAITING"])
    try:
        found.optimize(objective, n_trials=1, catch=(FailedTrialError,))
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError) as error:
        if isinstance(error, ValueError) and not str(error).startswith("Cannot tell"):
            raise
        warn(f"trial {objective.number} went to another worker, as this one gave no sign of life", note=True)
    return objective.reason


@dataclass
class Objective:
    """What Optuna calls: the mean of the final scores of a trial's seeds, and maybe the number of parameters."""

    study: Study
    found: optuna.Study
    claim: Claim
    jobs: int
    number: int = -1
    reason: str = ""  # why the trial failed, where its values may not be to blame
    _begin: float = field(default_factory=time.monotonic)
    _looked: float = field(default_factory=time.monotonic)

    @property
    def two(self) -> bool:
        """Whether there is a second objective."""
        return "second" in self.study.record

    def __call__(self, trial: optuna.Trial) -> float | tuple[float, float]:
        import optuna

        self.number = trial.number
        params = {parameter.name: parameter.suggest(trial) for parameter in self.study.space}
        self.claim.release()
        try:
            num_parameters = pareto.parameters(self.study, params) if self.two else 0
            if self.two:
                trial.set_user_attr("parameters", num_parameters)
            mean = self.train(trial, params)
        except FailedTrialError as error:
            self.reason = "" if isinstance(error, DivergedTrialError) else str(error)
            trial.set_user_attr("reason", str(error))
            self.say(params, f"failed: {error}")
            raise
        except optuna.TrialPruned:
            self.say(params, "pruned")
            raise
        except (FencedError, optuna.exceptions.UpdateFinishedTrialError):
            raise FencedError("it is over") from None
        except BaseException as error:  # nothing that the trial is to blame for: it waits again
            trial.set_user_attr("reason", one_line(error))
            again = optuna.storages.RetryHeartbeatStaleTrialCallback()
            again(self.found, self.found.get_trials()[trial.number])
            raise
        self.say(params, f"{mean:.6g}" + f", {num_parameters:,} parameters" * self.two)
        return (mean, num_parameters) if self.two else mean

    def train(self, trial: optuna.Trial, params: dict[str, Any]) -> float:
        """Train the seeds from rung to rung."""
        import optuna

        runs = seeds.seed_runs(self.study, params, self.study.seeds(trial.user_attrs))
        rungs = self.study.record["rungs"]
        for rung in range(self.study.record.get("prune_from", 1), rungs + 1):
            step = self.study.steps_of_rung(rung) if rung < rungs else None
            seeds.advance(runs, step, self.jobs, self.look)
            scores = {run.seed: run.score(step) for run in runs}
            mean = statistics.fmean(scores.values())
            if not self.two:  # Optuna takes reports of one objective only
                trial.report(mean, rung)
            trial.set_user_attr("scores", {str(seed): score for seed, score in scores.items()})
            if step is not None and trial.should_prune():
                raise optuna.TrialPruned
        return mean

    def look(self) -> None:
        """Stop the seeds where a signal, the trial's time or another worker says so."""
        check_signals(self.study)
        now, minutes = time.monotonic(), self.study.record.get("trial_minutes")
        if minutes and now - self._begin > 60 * minutes:
            raise FailedTrialError(f"took more than {minutes:g} minutes")
        if now - self._looked > self.study.record["heartbeat"]:
            self._looked = now
            if self.fenced():
                raise FencedError

    def fenced(self) -> bool:
        """Whether the trial is over, though this worker did not say so."""
        return self.number >= 0 and self.found.get_trials(deepcopy=False)[self.number].state.is_finished()

    def say(self, params: dict[str, Any], how: str) -> None:
        """A line on how a trial ended."""
        tried = ", ".join(f"{name} {cell(value)}" for name, value in params.items())
        print(f"trial {self.number}: {tried}: {how}", flush=True)
