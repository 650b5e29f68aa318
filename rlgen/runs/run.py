"""A run: one directory with everything that went into it and everything that came out.

    runs/<name>/  config.json    what is needed to run it again; written before step 0
                  metrics.jsonl  one JSON object a line: step, time, metrics
                  checkpoints/   step_000050000/..., best.json
                  summary.json   how it ended; samples/ videos/ wandb/
                  weights.safetensors  of the networks, once the run has finished

No torch at import: listing and showing runs answers at once.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlgen.core.generators import set_generators
from rlgen.errors import DiskError, UsageError
from rlgen.files import writing
from rlgen.options.derived import PERIODS
from rlgen.runs import checkpoint, choice, formats, pruning, rows, stopping, wandb_environment
from rlgen.runs.about import provenance
from rlgen.runs.best import better
from rlgen.runs.files import write_json
from rlgen.runs.fitting import check_best, check_rows, check_source, fitting, load_learner
from rlgen.runs.new import check_name, copy_state, default_name, directory
from rlgen.runs.pace import Pace
from rlgen.runs.records import Best, fit, read_best, read_config, read_status
from rlgen.runs.segments import Segments
from rlgen.runs.session import session
from rlgen.runs.state import Log, gather
from rlgen.runs.weights import save_weights
from rlgen.secret import command_line, scrubbed
from rlgen.text import warn

if TYPE_CHECKING:
    from rlgen.core.buffer import Buffer
    from rlgen.core.evaluation import Source
    from rlgen.core.learner import Learner


class Run(stopping.Stoppable):
    """A run directory and where the run stands. Make one with `Run.create` or `Run.open`."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info  # config.json, whole
        self.config: dict[str, Any] = info["config"]
        self.name = path.name
        self.seed: int = self.config["seed"]
        self.steps: int = self.config["steps"]
        self.checkpoints = path / "checkpoints"
        self.saved = max(checkpoint.steps(self.checkpoints), default=0)  # step of the newest checkpoint; 0: none
        self.step = self.saved
        self.best: dict[str, Any] | None = read_best(path)
        self.resumable = "exact"  # what a resume will be, one of `exactness.LEVELS`; known once it has been saved
        self.resumed: str | None = None  # what `restore` reached, one of them
        self._candidate: dict[str, Any] | None = None  # best evaluation so far, until it is saved
        self.is_new = False  # nothing of an earlier session lies in the directory
        self._pace, self._segments = Pace(), Segments()

    @classmethod
    def create(
        cls,
        runs_dir: str | Path,
        name: str | None,
        config: dict[str, Any],
        command: Sequence[str] | None = None,
        spec: dict[str, Any] | None = None,
        parent: Run | None = None,
    ) -> Run:
        """Make the directory of a new run and write its config.json.

        Args:
            runs_dir: where runs live; made if missing.
            name: None gives `{env or data}__{algo}__{seed}__{time}`.
            config: flat; `algo`, `seed`, `steps`, and `env_id` or `data`. Periods that are missing or None are filled
                in, so that extending the run does not change them.
            command: what the user typed, in words; None from Python.
            spec: the source's description of its data, from which a learner is built again.
            parent: the run that this one goes on from, at the parent's `step`; its rows and that checkpoint are copied.

        Raises:
            UsageError: the name is not valid or taken.
            DiskError: it cannot be written; the directory is gone again.
        """
        config = dict(config)
        for what, times in PERIODS.items():
            if config.get(f"{what}_every") is None:
                config[f"{what}_every"] = max(1, config["steps"] // times)
        name = default_name(Path(runs_dir), config) if name is None else name
        check_name(name)
        path = Path(runs_dir) / name
        info = {
            "format": formats.FORMAT,
            "config": scrubbed(json.loads(json.dumps(config, default=str))),
            "command": command_line(command) if command else None,
            "spec": spec,
            "wandb_environment": wandb_environment.recorded(),
            "wandb_id": f"{name[:50]}-{secrets.token_hex(4)}",  # wandb never lets an id be used again
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **provenance(),
        }
        if parent is not None:
            info["parent"] = {"run": parent.name, "step": parent.step, "wandb_id": parent.info.get("wandb_id")}
        with directory(path) as new:
            write_json(new / "config.json", info)
            if parent is not None:
                copy_state(parent.path, parent.step, new)
        run = cls(path, info)
        run.is_new = parent is None
        return run

    @classmethod
    def open(cls, path: str | Path, steps: int | None = None, max_memory: str | None = None) -> Run:
        """An existing run; `step` is its newest checkpoint's, until `restore` has found one that verifies.

        Args:
            path: its directory.
            steps: train up to this many instead, also when it is resumed again; schedules stretch to the new length.
            max_memory: of this machine; the one that the run began with may have been another's.

        Raises:
            UsageError: config.json is missing, damaged or of a newer rlgen, or nothing is left to do up to `steps`.
        """
        path = Path(path).resolve()
        info, unknown = read_config(path)
        if unknown:
            algo = info["config"]["algo"]
            warn(f"run {path.name} has options that this {algo} has not, without effect: {', '.join(unknown)}")
        run = cls(path, info)
        run.config |= {"max_memory": max_memory} if "max_memory" in run.config else {}
        if steps is not None:
            if steps <= run.step:
                raise UsageError(
                    f"--steps {steps} is not beyond step {run.step} of run {run.name}; give a larger number"
                )
            run.info.setdefault("extended", []).append({"at": run.step, "from": run.steps})
            run.steps = run.config["steps"] = steps  # written under the lock, by `running`
        return run

    def __repr__(self) -> str:
        what = f"{self.config['algo']} on {self.config.get('env_id') or self.config.get('data')}"
        best = f", best {self.best['metric']} {self.best['value']:.5g}" if self.best else ""
        return (
            f"<Run {self.name}: {what}, seed {self.seed}, step {self.step:,} of {self.steps:,}{best}, in {self.path}>"
        )

    def due(self, what: Literal["log", "eval", "checkpoint"], last_step: int) -> bool:
        """Whether a multiple of the period lies in (last_step, step]: steps come several at a time.

        A checkpoint may also be due by the clock, or wait: see `Pace`.
        """
        every = self.config[f"{what}_every"]
        reached = self.step // every > last_step // every
        return self._pace.due(reached, self.config.get("checkpoint_minutes")) if what == "checkpoint" else reached

    def save(self, learner: Learner, source: Source, buffer: Buffer, log: Log) -> None:
        """Save a checkpoint of everything at `step`; keep the newest ones and the best.

        Raises:
            DivergedError: a metric since the last row, or a weight, is not finite; such a state is never saved.
            DiskError: it could not be written; the earlier ones are as they were.
            MovedRunError: the directory was removed.
        """
        self.look()
        begin = time.monotonic()
        best = self._candidate if self._candidate and self._candidate["step"] == self.step else self.best
        state = gather(self, learner, source, buffer, log, best)
        about = {"run": self.name, "algo": self.config["algo"], "versions": self.info.get("versions")}
        about["resume"] = self.resumable = source.restores
        pending = self._segments.look(buffer, state["buffer"])
        pruning.make_room(self.checkpoints, self.step, self.best["step"] if self.best else None, pending)
        try:
            checkpoint.save(self.checkpoints, self.step, state, about, self._segments)
        except DiskError:
            if not self.look():
                raise
            checkpoint.tidy(self.checkpoints)  # it was moved in the middle of that
            checkpoint.save(self.checkpoints, self.step, state, about, self._segments)
        self.saved = self.step
        if best != self.best:
            self._mark_best(best)
        pruning.prune(self.checkpoints, self.step, best["step"] if best else None, self.config.get("keep", 2))
        self._pace.saved(begin)

    def export(self, learner: Learner) -> None:
        """Write the networks' weights to weights.safetensors, for programs that are not rlgen.

        Raises:
            DiskError: they could not be written; checkpoints are as they were.
        """
        self.look()
        about = {"run": self.name, "algo": self.config["algo"], "step": str(self.step)}
        save_weights(self.path / "weights.safetensors", learner.state_dict(), about)

    def load(
        self,
        which: str | int = "last",
        use: Callable[[dict[str, Any]], None] | None = None,
        with_rows: bool = True,
    ) -> dict[str, Any]:
        """The state of a checkpoint, on the CPU: `last` that can be used, `best`, or a step.

        Args:
            which: of these.
            use: called with the state; what it raises makes `last` the next older one.
            with_rows: as of `checkpoint.load`.

        Raises:
            CheckpointError: it is not there or cannot be used.
            UsageError: `which` is none of the three.
        """
        best = int(self.best["step"]) if self.best else None
        return choice.load_chosen(self.checkpoints, which, best, use or (lambda state: None), with_rows)

    def restore(self, learner: Learner, source: Source, buffer: Buffer, log: Log, which: str | int = "last") -> None:
        """Put everything back as it was when the checkpoint was saved, and cut metrics.jsonl to its step.

        Call it inside `running()`, before the first step.

        Raises:
            CheckpointError: none can be used, or none is of this architecture.
        """

        def put_back(state: dict[str, Any]) -> None:
            with fitting(state, self.config["algo"]):
                check_source(learner, source, state)
                check_best(state)
                load_learner(learner, state["learner"])
                self.saved, self.restoring = state["step"], True  # which may take long: episodes are played again
                try:
                    exact = source.load_state_dict(state["source"])
                    self.resumed = source.restores if exact else "approximate"
                finally:
                    self.restoring = False
                if source.streams:
                    buffer.load_state_dict(state["buffer"])
                    check_rows(source, buffer)
                    self._segments.loaded(state["buffer"], buffer)
                log.load_state_dict(state["log"])
                set_generators(state["rng"])

        state = self.load(which, put_back)
        self._mark_best(state["best"])
        self.step, self.eval_due = state["step"], state.get("eval_due", False)
        metrics = self.path / "metrics.jsonl"
        if aside := rows.truncate(metrics, self.step, self.eval_due):
            warn(f"metrics.jsonl had damaged lines; as it was, it is kept as {aside}")
        elif (metrics.stat().st_size if metrics.exists() else 0) < state["log"].get("size", 0):
            warn(f"metrics.jsonl lacks rows that this run had written before step {self.step:,}")

    def restore_learner(self, learner: Learner, which: str | int = "last", whole: bool = False) -> None:
        """Load the learner alone, to evaluate or sample; nothing of the run is touched.

        Args:
            learner: of this architecture.
            which: as of `load`.
            whole: check the segments of the ring too, which a learner does without: else they need not be there.

        Raises:
            CheckpointError: as `restore`.
        """

        def put_back(state: dict[str, Any]) -> None:
            if whole:
                checkpoint.verified(checkpoint.directory(self.checkpoints, state["step"]), with_segments=True)
            with fitting(state, self.config["algo"]):
                load_learner(learner, state["learner"])

        self.step = self.load(which, put_back, with_rows=whole)["step"]

    def improved(self, metrics: dict[str, Any]) -> bool:
        """Whether this evaluation is the best so far; if so, a checkpoint saved at this step becomes the best one."""
        found = better(metrics, self.best, self.step)
        self._candidate = found or self._candidate
        return found is not None

    def _mark_best(self, best: dict[str, Any] | None) -> None:
        """Write best.json, or remove it where the best checkpoint is gone."""
        if best is not None and not checkpoint.directory(self.checkpoints, fit(best, Best)["step"]).exists():
            best = None
        self.best, self._candidate = best, None
        if best:
            write_json(self.checkpoints / "best.json", best)
        else:
            with writing(self.checkpoints):
                (self.checkpoints / "best.json").unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.saved >= self.steps and read_status(self.path) == "finished"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Hold the run's lock and turn signals into `interrupted`, for as long as something trains.

        The first signal that asks to stop lets the step end and the state be saved; a second SIGINT aborts at once.

        Raises:
            UsageError: another process holds the lock.
            DiskError: something could not be written; a new run that has nothing yet is removed.
        """
        with session(self), stopping.listening(self):
            yield

    def command(self, verb: str, *options: str) -> str:
        """The line that does something with this run, ready to paste."""
        default = self.path.parent.resolve() == Path("runs").resolve()
        launcher = ["torchrun", "--nproc-per-node", str(self.info["ranks"]), "-m"] if "ranks" in self.info else []
        program = [*(launcher if verb == "resume" else []), "rlgen"]
        return shlex.join([*program, verb, self.name if default else str(self.path), *options])
