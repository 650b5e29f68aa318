"""A run: one directory with everything that went into it and everything that came out.

    runs/<name>/  config.json    what is needed to run it again; written before step 0
                  metrics.jsonl  one JSON object a line: step, time, metrics; NaN and infinities are the strings
                                 "NaN", "Infinity", "-Infinity", so that every JSON parser reads every line
                  checkpoints/   step_000050000/..., best.json
                  summary.json   how it ended; samples/ videos/ wandb/
                  weights.safetensors  of the networks, once the run has finished

No torch at import: listing and showing runs answers at once.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import importlib.metadata
import json
import math
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlgen.errors import CheckpointError, DiskError, InterruptedRunError, UsageError
from rlgen.runs import checkpoint

if TYPE_CHECKING:
    from rlgen.core.buffer import Buffer
    from rlgen.core.learner import Learner
    from rlgen.core.source import Source
    from rlgen.runs.log import RunLog

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")  # no leading dot or dash: neither hidden nor taken for a flag
SCORES = {"eval/episodic_return": 1, "eval/nll": -1, "eval/elbo": 1, "eval/fd": -1}  # 1: higher is better
STATUS = {0: "finished", 5: "diverged", 130: "interrupted", 143: "interrupted"}  # by exit code; any other has failed
PERIODS = {"log": 200, "eval": 10, "checkpoint": 10}  # times a run, where the config does not give `<what>_every`


class Run:
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
        self.best: dict[str, Any] | None = read_json(self.checkpoints / "best.json")  # metric, value, step
        self._candidate: dict[str, Any] | None = None  # best evaluation so far, until it is saved
        self._signum = 0

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
            UsageError: the name is not valid or taken, or the directory cannot be made.
        """
        config = dict(config)
        for what, times in PERIODS.items():
            if config.get(f"{what}_every") is None:
                config[f"{what}_every"] = max(1, config["steps"] // times)
        if name is None:
            name = _default_name(Path(runs_dir), config)
        elif not NAME.fullmatch(name) or name == "last":
            raise UsageError(
                f"run name {name!r} is not valid: 1 to 80 of A-Z a-z 0-9 . _ -, "
                "not starting with . or -, and not 'last'; give another --name"
            )
        path = Path(runs_dir) / name
        try:
            Path(runs_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make {runs_dir}: {error.strerror}; give another --runs-dir") from error
        try:
            path.mkdir()
        except FileExistsError as error:
            raise UsageError(f"run {name} exists in {runs_dir}; give another --name, or rlgen resume {name}") from error
        except OSError as error:
            raise UsageError(f"cannot write in {runs_dir}: {error.strerror}; give another --runs-dir") from error
        info = {
            "config": json.loads(json.dumps(config, default=str)),
            "command": shlex.join(command) if command else None,
            "spec": spec,
            "wandb_id": f"{name[:50]}-{secrets.token_hex(4)}",  # wandb never lets an id be used again
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "rlgen_version": _version("rlgen"),
            "git_commit": _git_commit(),
            "versions": {"python": platform.python_version()}
            | {package: _version(package) for package in ("torch", "gymnasium", "numpy", "wandb", "ale-py")},
            "hardware": _hardware(),
        }
        if parent is not None:
            info["parent"] = {"run": parent.name, "step": parent.step, "wandb_id": parent.info.get("wandb_id")}
        checkpoint.write_json(path / "config.json", info)
        if parent is not None:
            _copy_state(parent, path)
        return cls(path, info)

    @classmethod
    def open(cls, path: str | Path, steps: int | None = None) -> Run:
        """An existing run; `step` is its newest checkpoint's, until `restore` has found one that verifies.

        Args:
            path: its directory.
            steps: train up to this many instead, also when it is resumed again; schedules stretch to the new length.

        Raises:
            UsageError: config.json is missing or damaged, or there is nothing left to do up to `steps`.
        """
        path = Path(path).resolve()
        info = read_json(path / "config.json")
        config = info.get("config") if info else None
        if not isinstance(config, dict) or any(key not in config for key in ("algo", "seed", "steps")):
            raise UsageError(f"{path} is not a run: its config.json is missing or damaged; see rlgen list runs")
        run = cls(path, info or {})
        if steps is not None:
            if steps <= run.step:
                raise UsageError(
                    f"--steps {steps} is not beyond step {run.step} of run {run.name}; give a larger number"
                )
            run.steps = run.config["steps"] = steps  # written under the lock, by `running`
        return run

    def due(self, what: Literal["log", "eval", "checkpoint"], last_step: int) -> bool:
        """Whether a multiple of the period lies in (last_step, step]: steps come several at a time."""
        every = self.config[f"{what}_every"]
        return self.step // every > last_step // every

    def save(self, learner: Learner, source: Source, buffer: Buffer, log: RunLog) -> None:
        """Save a checkpoint of everything at `step`; keep the last two and the best.

        Raises:
            DivergedError: a metric since the last row is not finite; a diverged state never replaces a good one.
            DiskError: it could not be written; the earlier ones are as they were.
        """
        import torch

        log_state = log.state_dict()
        best = self._candidate if self._candidate and self._candidate["step"] == self.step else self.best
        state = {
            "format": checkpoint.FORMAT,
            "step": self.step,
            "learner": checkpoint.owned(learner.state_dict()),
            "source": source.state_dict(),
            "buffer": buffer.state_dict() if source.streams else None,  # a data set's is filled again
            "log": log_state,
            "best": best,
            "rng": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if learner.device.type == "cuda" else [],
            },
        }
        about = {"run": self.name, "algo": self.config["algo"], "versions": self.info.get("versions")}
        checkpoint.save(self.checkpoints, self.step, state, about)
        self.saved = self.step
        if best != self.best:
            self._mark_best(best)
        checkpoint.prune(self.checkpoints, self.step, best["step"] if best else None)

    def export(self, learner: Learner) -> None:
        """Write the networks' weights to weights.safetensors, for programs that are not rlgen.

        Raises:
            DiskError: they could not be written; checkpoints are as they were.
        """
        about = {"run": self.name, "algo": self.config["algo"], "step": str(self.step)}
        checkpoint.save_weights(self.path / "weights.safetensors", learner.state_dict(), about)

    def load(self, which: str | int = "last") -> dict[str, Any]:
        """The state of a checkpoint, on the CPU: `last` that verifies, `best`, or a step.

        Raises:
            CheckpointError: it is not there or cannot be used.
            UsageError: `which` is none of the three.
        """
        if which == "last":
            return checkpoint.load_newest(self.checkpoints)
        saved = checkpoint.steps(self.checkpoints)
        if which == "best":
            if self.best is None:
                raise CheckpointError(f"run {self.name} has no best checkpoint (not evaluated); use --checkpoint last")
            step = int(self.best["step"])
        elif str(which).isdecimal():
            step = int(which)
        else:
            raise UsageError(f"--checkpoint {which!r} is not valid: last, best, or a step of {saved}")
        if step not in saved:
            raise CheckpointError(f"run {self.name} has no checkpoint of step {step}; it has {saved or 'none'}")
        try:
            return checkpoint.load(self.checkpoints, step)
        except CheckpointError as error:
            raise CheckpointError(f"checkpoint {checkpoint.directory(self.checkpoints, step)}: {error}") from error

    def restore(
        self, learner: Learner, source: Source, buffer: Buffer, log: RunLog, checkpoint: str | int = "last"
    ) -> None:
        """Put everything back as it was when the checkpoint was saved, and cut metrics.jsonl to its step.

        Call it inside `running()`, before the first step.

        Raises:
            CheckpointError: none can be used, or it is of another architecture.
        """
        import torch

        state = self.load(checkpoint)
        with self._fits(state):
            learner.load_state_dict(state["learner"])
            source.load_state_dict(state["source"])
            if state["buffer"] is not None:
                buffer.load_state_dict(state["buffer"])
            log.load_state_dict(state["log"])
            torch.set_rng_state(state["rng"]["cpu"])
            if len(state["rng"]["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(state["rng"]["cuda"])
            self._mark_best(state["best"])
        self.step = self.saved = state["step"]
        _truncate_metrics(self.path / "metrics.jsonl", self.step)

    def restore_learner(self, learner: Learner, checkpoint: str | int = "last") -> None:
        """Load the learner alone, to evaluate or sample; nothing of the run is touched.

        Raises:
            CheckpointError: as `restore`.
        """
        state = self.load(checkpoint)
        with self._fits(state):
            learner.load_state_dict(state["learner"])
        self.step = state["step"]

    @contextlib.contextmanager
    def _fits(self, state: dict[str, Any]) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the checkpoint of step {state['step']} does not fit this {self.config['algo']}: {reason}; "
                "use the version and the options that made it"
            ) from error

    def improved(self, metrics: dict[str, float]) -> bool:
        """Whether this evaluation is the best so far; if so, a checkpoint saved at this step becomes the best one.

        The figure is the first of `SCORES` found, and stays the one that was compared first.
        """
        names = [self.best["metric"]] if self.best else [name for name in SCORES if name in metrics][:1]
        for name in names:
            value = float(metrics.get(name, math.nan))
            if math.isfinite(value) and (not self.best or SCORES[name] * (value - self.best["value"]) > 0):
                self._candidate = {"metric": name, "value": value, "step": self.step}
                return True
        return False

    def _mark_best(self, best: dict[str, Any] | None) -> None:
        """Write best.json, or remove it where the best checkpoint is gone."""
        if best and not checkpoint.directory(self.checkpoints, best["step"]).exists():
            best = None
        self.best, self._candidate = best, None
        if best:
            checkpoint.write_json(self.checkpoints / "best.json", best)
        else:
            (self.checkpoints / "best.json").unlink(missing_ok=True)

    @property
    def interrupted(self) -> bool:
        """A signal asked the run to stop: it saves at the end of this step."""
        return self._signum != 0

    def interrupt(self, signum: int) -> None:
        """Ask the run to stop, as a signal does."""
        self._signum = signum

    def raise_if_interrupted(self) -> None:
        """Stop after the state was saved, unless the run has just ended anyway."""
        if self.interrupted and self.step < self.steps:
            name = signal.Signals(self._signum).name
            raise InterruptedRunError(
                f"stopped by {name}, saved at step {self.step:,}; go on with: {self.command('resume')}", self._signum
            )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Hold the run's lock and turn signals into `interrupted`, for as long as something trains.

        The first SIGINT or SIGTERM lets the step end and the state be saved; a second SIGINT aborts at once.

        Raises:
            UsageError: another process holds the lock.
        """
        with open(self.path / ".lock", "a+", encoding="utf-8") as lock:
            self._acquire(lock)
            checkpoint.remove_stale(self.path)
            checkpoint.remove_stale(self.checkpoints)
            if read_json(self.path / "config.json") != self.info:
                checkpoint.write_json(self.path / "config.json", self.info)
            (self.path / "summary.json").unlink(missing_ok=True)  # it told of an earlier end
            _listen(self)
            try:
                yield
            finally:
                _stop_listening(self)
                lock.truncate(0)

    def _acquire(self, lock: Any) -> None:
        for attempt in range(3):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if attempt == 2:  # `list runs` holds it for a moment when it looks
                    lock.seek(0)
                    owner = lock.read().strip() or "unknown"
                    raise UsageError(f"run {self.name} is in use by process {owner}; wait for it or stop it") from error
                time.sleep(0.1)
            except OSError as error:
                print(f"warning: {self.path} cannot be locked: {error.strerror}; start it only once", file=sys.stderr)
                break
        lock.truncate(0)
        lock.write(f"{os.getpid()} on {socket.gethostname()}")
        lock.flush()

    def command(self, verb: str, *options: str) -> str:
        """The line that does something with this run, ready to paste."""
        default = self.path.parent.resolve() == Path("runs").resolve()
        return shlex.join(["rlgen", verb, self.name if default else str(self.path), *options])


def _copy_state(parent: Run, path: Path) -> None:
    try:
        saved = checkpoint.directory(parent.checkpoints, parent.step)
        shutil.copytree(saved, path / "checkpoints" / saved.name)
        if (parent.path / "metrics.jsonl").exists():
            shutil.copyfile(parent.path / "metrics.jsonl", path / "metrics.jsonl")
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise DiskError(f"cannot copy the state of {parent.name} to {path}: {error.strerror or error}") from error


_training: list[Run] = []  # all that a signal asks to stop: with --seeds more than one
_handlers: dict[signal.Signals, Any] = {}  # those of before the first of them


def _listen(run: Run) -> None:
    if not _training:
        with contextlib.suppress(ValueError):  # not the main thread, a notebook's for one: signals stay as they are
            for signum in (signal.SIGINT, signal.SIGTERM):
                _handlers[signum] = signal.signal(signum, _on_signal)
    _training.append(run)


def _stop_listening(run: Run) -> None:
    _training.remove(run)
    if not _training:
        for signum, handler in _handlers.items():
            signal.signal(signum, handler)
        _handlers.clear()


def _on_signal(signum: int, frame: Any) -> None:
    waiting = [run for run in _training if not run.interrupted]
    if not waiting and signum == signal.SIGINT:
        raise KeyboardInterrupt
    if waiting:  # os.write: print is not safe where it may interrupt another print
        os.write(2, b"\nstopping: the step ends and the state is saved (Ctrl-C again to abort without saving)\n")
        for run in waiting:
            run.interrupt(signum)


def find(text: str, runs_dir: str | Path = "runs") -> Path:
    """The directory of a run given by name, directory, unique prefix, or `last` (the one trained last).

    Raises:
        UsageError: no run, or more than one, fits.
    """
    runs = _directories(Path(runs_dir))
    if text == "last" and runs:
        return max(runs, key=lambda path: (_last_touched(path), path.name))
    names = [path.name for path in runs]
    if text in names:
        return Path(runs_dir) / text
    if text and (Path(text) / "config.json").is_file():
        return Path(text)
    matches = [name for name in names if text and name.startswith(text)]
    if len(matches) == 1:
        return Path(runs_dir) / matches[0]
    if matches:
        more = f" and {len(matches) - 5} more" if len(matches) > 5 else ""
        raise UsageError(f"{text!r} fits {len(matches)} runs: {', '.join(matches[:5])}{more}; give more of the name")
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "see rlgen list runs, or give --runs-dir"
    raise UsageError(f"no run {text!r} in {runs_dir}; {hint if names else 'it holds none yet: rlgen train ALGO'}")


def list_runs(runs_dir: str | Path = "runs") -> list[dict[str, Any]]:
    """One dict a run, oldest first: name, path, algo, env_id, data, seed, step, steps, status, created, best."""
    rows = [describe(path) for path in _directories(Path(runs_dir))]
    return sorted(rows, key=lambda row: (row["created"] or "", row["name"]))


def describe(path: Path) -> dict[str, Any]:
    """A run's row in `list_runs`."""
    info = read_json(path / "config.json") or {}
    config = info.get("config") or {}
    summary = read_json(path / "summary.json") or {}
    saved = checkpoint.steps(path / "checkpoints")
    status = "running" if _is_locked(path) else summary.get("status", "stopped") if config else "damaged"
    return (
        {"name": path.name, "path": str(path)}
        | {key: config.get(key) for key in ("algo", "env_id", "data", "seed", "steps")}
        | {"step": _last_step(path / "metrics.jsonl") or max(saved, default=0), "status": status}
        | {"created": info.get("created"), "best": read_json(path / "checkpoints/best.json") or summary.get("best")}
    )


def read_metrics(path: str | Path) -> Iterator[dict[str, Any]]:
    """Rows of a run's metrics.jsonl, one at a time; "NaN" and "Infinity" come back as floats.

    A torn last line, left by a killed process, is skipped.

    Args:
        path: the run's directory, or the file.

    Raises:
        UsageError: a line in the middle is not a JSON object.
    """
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            row = _parse(line)
            if row is not None:
                yield row
            elif line.endswith(b"\n") and file.peek(1):
                raise UsageError(f"{path} line {number} is no row of metrics: {line[:40]!r}; mend or remove it")


def strict(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become strings, which `float` and JavaScript's `Number` read."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int) or not line.endswith(b"\n"):
        return None
    return {k: float(v) if v in ("NaN", "Infinity", "-Infinity") else v for k, v in row.items()}


def _truncate_metrics(path: Path, step: int) -> None:
    """Cut, in one piece, the rows past `step` and a torn line: a resumed run writes them again."""
    if not path.exists():
        return
    keep = 0
    with open(path, "rb") as file:
        for line in file:
            row = _parse(line)
            if row is None or row["step"] > step:
                break
            keep += len(line)
        if keep == path.stat().st_size:
            return
        file.seek(0)
        temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
        try:
            with open(temporary, "wb") as kept:
                kept.write(file.read(keep))
                kept.flush()
                os.fsync(kept.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror}; free space or fix permissions") from error


def _last_step(path: Path) -> int:
    """Step of the last whole row, from the end of the file alone."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 65536))
        rows = [row for line in file.readlines()[-3:] if (row := _parse(line))]
    return rows[-1]["step"] if rows else 0


def _directories(runs_dir: Path) -> list[Path]:
    if not runs_dir.is_dir():
        return []
    return sorted(path for path in runs_dir.iterdir() if (path / "config.json").is_file())


def _last_touched(path: Path) -> int:
    files = (path / "config.json", path / "metrics.jsonl")
    return max(file.stat().st_mtime_ns for file in files if file.exists())


def _is_locked(path: Path) -> bool:
    try:
        with open(path / ".lock", "rb") as lock:
            if not lock.read(1):
                return False
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object of a file; None where there is none to read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _default_name(runs_dir: Path, config: dict[str, Any]) -> str:
    what = config.get("env_id") or config["data"]
    what = Path(what).name if config.get("env_id") is None else what  # data may be a path
    parts: Sequence[Any] = (what, config["algo"], config["seed"], time.strftime("%Y%m%d-%H%M%S"))
    clean = [re.sub(r"[^A-Za-z0-9._-]+", "-", str(part)).strip(".-")[:40] for part in parts]
    name = "__".join(clean)[:76]
    taken = 2
    unique = name
    while (runs_dir / unique).exists():
        unique, taken = f"{name}-{taken}", taken + 1
    return unique


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the source tree rlgen runs from, `-dirty` with changes; None for an installed copy."""
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root)]
    try:
        out = [
            subprocess.run([*git, *args], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
            for args in (["rev-parse", "--show-toplevel"], ["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    if Path(out[0]).resolve() != root:  # a virtual environment inside someone else's repository
        return None
    return out[1] + ("-dirty" if out[2] else "")


def _hardware() -> dict[str, Any]:
    import torch

    from rlgen.speed.device import cores

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"host": platform.node(), "platform": platform.platform(), "cpu_cores": cores(), "gpus": gpus}
