"""The wandb sink: one thread of its own, so that whatever happens there can neither stop nor slow training."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import math
import netrc
import os
import queue
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from tqdm import tqdm

from rlgen.runs import checkpoint
from rlgen.runs.run import STATUS, Run, read_metrics

Row = dict[str, Any]
BESTS = {"charts/episodic_return": "max", "eval/episodic_return": "max", "eval/nll": "min"}  # kept in wandb's summary
MAX_BYTES = 256 * 2**20  # of an artifact: a replay buffer of gigabytes would hold up the last rows behind it
CODE = ("rlgen", "agents", "generative")


class Wandb:
    """The wandb sink. What it raises becomes one warning and turns it off; at 300 us a call it is rationed.

    Args:
        run: what is tracked.
        mode: auto (online with an account and a network, else offline), online, offline or disabled.
    """

    SECONDS = 0.25  # between training rows
    IDLE = 0.5  # seconds after which a row held back goes out, if none followed
    START = 4.5  # seconds that training waits for it; rows of a slower start wait in the queue
    # settings other versions may not have: no system metrics, at most 2 s of rows lost to a kill (IDLE and this
    # together), no endless upload, and an error where it was cut off
    OPTIONAL = (
        *(("x_disable_stats", True), ("x_transaction_log_flush_interval", 1.0)),
        *(("finish_timeout", 45.0), ("finish_timeout_raises", True)),
    )
    ARTIFACTS = 12.0  # seconds for naming artifacts to the server, which wandb asks about each, without an end
    # settings that a version must have to be private
    PRIVATE = (
        *(("x_disable_machine_info", True), ("x_disable_meta", True), ("x_save_requirements", False)),
        *(("disable_git", True), ("save_code", False), ("host", "private")),
    )

    def __init__(self, run: Run, mode: str) -> None:
        self.note = ""  # where its files are, or its address
        self._rlgen_run = run
        self._private = bool(run.config.get("wandb_private"))
        self._run: Any = None
        self._off, self._online = False, False
        self._problems: list[str] = []  # with artifacts and the end: one line about the first of them
        self._unsent: Row | None = None
        self._next = 0.0
        self._lock = threading.Lock()  # of the row held back, which either thread may send
        self._jobs: queue.Queue[Callable[[], Any] | None] = queue.Queue(maxsize=1000)
        self._thread: threading.Thread | None = None
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE", "auto")
        if mode != "disabled":
            started = threading.Event()
            self._thread = threading.Thread(target=self._work, args=(mode, started), name="wandb-sink", daemon=True)
            self._thread.start()
            started.wait(self.START)

    def _work(self, mode: str, started: threading.Event) -> None:
        """The thread: start, then do the jobs in their order, until None."""
        self._try("starting", lambda: self._start(mode))
        started.set()
        if not (self._private or self._off):
            self._send_aside(self._send_code)
        while True:
            try:
                job = self._jobs.get(timeout=self.IDLE)
            except queue.Empty:
                with self._lock:
                    row, self._unsent = self._unsent, None
                if row:
                    self._try("logging", lambda row=row: self._run.log(row))  # type: ignore[misc]
                continue
            if job is None:
                return
            self._try("logging", job)

    def _start(self, mode: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its telemetry is a third of the cost of a call
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # it takes our `agents` for a package of that name
        os.environ.setdefault("WANDB_SILENT", "true")  # a run's own setting does not keep its warnings off the terminal
        self._wandb = importlib.import_module("wandb")
        online = False
        if mode in ("auto", "online"):
            reason = why_offline(self._wandb.setup().settings)  # with WANDB_BASE_URL and the settings files
            online = not reason
            if reason:
                path = self._rlgen_run.path / "wandb"
                warn(f"wandb is offline: {reason}; later: wandb sync {path}/offline-run-*", mode == "auto")
        run = None
        if online:
            try:
                run = self._init("online", self._rlgen_run.info["wandb_id"])
                self.note = run.url
            except Exception as error:
                warn(f"wandb is offline: {first_line(error)}")
        if run is None:
            wandb_id = self._rlgen_run.info["wandb_id"]  # taken in this process, where the server failed in the middle
            online, run = False, self._init("offline", f"{wandb_id}-offline" if online else wandb_id)
            self.note = f"wandb sync {Path(run.dir).parent}"
        self._online = online
        self._link(Path(run.dir).parent)
        run.define_metric("global_step")
        run.define_metric("*", step_metric="global_step")  # x-axis: wandb's own step restarts on a resume
        for name, best in BESTS.items():
            run.define_metric(name, step_metric="global_step", summary=f"{best},last")
        self._run = run

    def _init(self, mode: str, wandb_id: str) -> Any:
        run, config = self._rlgen_run, self._config()
        what = config.get("env_id") or config.get("data")
        settings: dict[str, Any] = {"console": "off", "silent": True, "init_timeout": 10.0}
        for name, value in self.OPTIONAL:
            with contextlib.suppress(Exception):
                self._wandb.Settings(**{name: value})
                settings[name] = value
        if self._private:
            settings |= self.PRIVATE  # one that this version does not have raises: no run rather than one that tells
        tags = (config["algo"], what, f"rlgen-{run.info.get('rlgen_version')}", (config.get("git_commit") or "")[:8])
        return self._wandb.init(
            project=config.get("wandb_project", "rlgen"),
            name=run.name,
            id=wandb_id,
            resume="allow",
            reinit="create_new",  # a notebook's own wandb run stays its own
            dir=str(run.path),
            config=config,
            group=f"{what}__{config['algo']}"[:128],
            job_type="train",
            tags=[str(tag)[:64] for tag in tags if tag],
            mode=mode,
            settings=self._wandb.Settings(**settings),
        )

    def _config(self) -> dict[str, Any]:
        """The flat configuration, the run's parent and the commit; in private mode neither commit nor path."""
        run = self._rlgen_run
        config = run.config | ({"parent": run.info["parent"]} if run.info.get("parent") else {})
        if not self._private:
            return config | {"git_commit": run.info.get("git_commit")}
        config = {name: value for name, value in config.items() if name not in ("runs_dir", "data_dir")}
        for name, value in config.items():  # `data` may be a folder, and so may be an algorithm's own option
            if isinstance(value, str) and (name in ("data", "parent") or value[:1] in ("/", "~", ".")):
                config[name] = Path(value).name
        return config

    def log(self, row: Row, always: bool) -> None:
        """Send a row, if it is time to or always; one held back goes out with the next or after a moment."""
        if self._thread is None or self._off:
            return
        now = time.monotonic()
        with self._lock:
            if always or now >= self._next:
                self._next = now + self.SECONDS
                rows = [self._unsent, row] if always and self._unsent else [row]
                self._unsent = None
                self._put(lambda: [self._run.log(each) for each in rows])
            else:
                self._unsent = row

    def _link(self, folder: Path) -> None:
        """Show the run's folder in `<runs_dir>/wandb` too, where wandb's own commands look for many runs."""
        shared = self._rlgen_run.path.parent / "wandb"
        with contextlib.suppress(OSError):  # a file system without links: each run's own folder is there
            shared.mkdir(exist_ok=True)
            (shared / folder.name).symlink_to(Path(os.path.relpath(folder, shared)))

    def image(self, step: int, name: str, path: Path) -> None:
        """Send a picture or video from its file."""

        def send() -> None:
            media = self._wandb.Image if path.suffix in (".png", ".jpg") else self._wandb.Video
            self._run.log({name: media(str(path)), "global_step": step})

        self._put(send)

    def alert(self, title: str, text: str) -> None:
        """Have wandb send a message to whoever asked it to; offline it is of no consequence."""
        self._put(lambda: self._run.alert(title=title, text=text, level="ERROR"))

    def finish(self, exit_code: int) -> None:
        """Send what is left and end the run; given up after a time, should its process hang."""
        if self._thread is None:
            return
        if self._off:  # its thread may hang: nothing is left to wait for
            with contextlib.suppress(queue.Full):
                self._jobs.put_nowait(None)
            self._thread = None
            return
        end = time.monotonic() + 60.0

        def finish() -> None:
            if self._unsent:
                self._run.log(self._unsent)
            try:
                status = STATUS.get(exit_code, "failed")  # to wandb an interrupted run is a failed one
                self._run.summary.update(_bests(self._rlgen_run.path) | {"status": status})
            except Exception as error:
                self._problems.append(first_line(error))
            self._send_aside(lambda: self._send_results(exit_code))
            try:
                self._run.finish(exit_code=exit_code)
            except Exception as error:
                self._problems.append(first_line(error))
            if self._problems:
                warn(f"wandb has not all results: {self._problems[0]}; the run directory has them")

        with contextlib.suppress(queue.Full):  # then the thread hangs, and the wait below says so
            self._jobs.put(finish, timeout=5.0)
            self._jobs.put(None, timeout=5.0)
        self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            warn("wandb did not finish in 60 s and is left behind; metrics.jsonl has every row")
        self._thread, self._run = None, None

    def _send_aside(self, send: Callable[[], Any]) -> None:
        """Send artifacts without stopping for them: the rows matter more, so what goes wrong is said at the end."""

        def attempt() -> None:
            try:
                send()
            except Exception as error:
                self._problems.append(first_line(error))

        thread = threading.Thread(target=attempt, name="wandb-artifacts", daemon=True)
        thread.start()
        thread.join(self.ARTIFACTS if self._online else None)
        if thread.is_alive():
            self._problems.append("its server does not answer")

    def _send_code(self) -> None:
        """Send the source files of all three packages; one version for all runs of the same code."""
        root = Path(__file__).resolve().parents[2]
        files = {
            str(path.relative_to(root)): path
            for package in CODE
            for path in sorted((root / package).rglob("*"))
            if path.suffix in (".py", ".toml")
        }
        self._send("rlgen-code", "code", files, {"git_commit": self._rlgen_run.info.get("git_commit")}, [])

    def _send_results(self, exit_code: int) -> None:
        """Send the last and the best checkpoint and, of a run that has finished, its weights.

        At the end alone: earlier ones are pruned, and a resumed run sends its own.
        """
        run = self._rlgen_run
        if self._private:
            return  # wandb names the absolute path of every file, in an artifact's manifest and in its own file
        best = int(run.best["step"]) if run.best else 0
        for step in sorted({run.saved, best} - {0}):
            folder = checkpoint.directory(run.checkpoints, step)
            if not (folder / "manifest.json").is_file():
                continue
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            aliases = [f"step-{step}", *(["last"] if step == run.saved else []), *(["best"] if step == best else [])]
            files = {name: folder / name for name in ("state.pt", "manifest.json")}
            about = {"step": step, "sha256": manifest["files"]["state.pt"]["sha256"]}
            self._send(f"{run.name}-checkpoint", "checkpoint", files, about, aliases)
        weights = run.path / "weights.safetensors"
        if exit_code == 0 and weights.is_file():
            about = {"step": run.step, "sha256": checkpoint.digest(weights)["sha256"]}
            self._send(f"{run.name}-weights", "model", {weights.name: weights}, about, [f"step-{run.step}"])

    def _send(self, name: str, kind: str, files: dict[str, Path], about: dict[str, Any], aliases: list[str]) -> None:
        """Log an artifact, from second names of the files: pruning or editing the first ones does not change it."""
        size = sum(path.stat().st_size for path in files.values())
        if size > MAX_BYTES:
            warn(f"wandb is not sent {name} ({size / 2**30:.1f} GiB); it stays in {self._rlgen_run.path}", note=True)
            return
        run = self._rlgen_run
        lineage = (
            {"run": run.name, "algo": run.config["algo"], "parent": run.info.get("parent")} if kind != "code" else {}
        )
        artifact = self._wandb.Artifact(name, kind, metadata=about | lineage)
        folder = (
            Path(self._run.dir).resolve().parent
            / "artifacts"
            / (f"{name}-{about['step']}" if "step" in about else name)
        )
        for label, path in files.items():
            copy = folder / label
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                if kind == "code":  # an editor may write into the file itself
                    raise OSError
                os.link(path, copy)  # no byte is copied
            except OSError:
                shutil.copyfile(path, copy)
            artifact.add_file(str(copy), name=label, policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact, aliases=["latest", *aliases])

    def _put(self, job: Callable[[], Any]) -> None:
        if self._thread is None or self._off:
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._turn_off("it hangs")

    def _try(self, doing: str, call: Callable[[], Any]) -> None:
        if self._off:
            return
        try:
            call()
        except Exception as error:
            self._turn_off(f"{doing} failed: {first_line(error)}")

    def _turn_off(self, reason: str) -> None:
        if self._off:  # by the other thread
            return
        self._off, self._unsent, self.note = True, None, ""
        logging.raiseExceptions = False  # on a full disk its logger would print a traceback a line
        warn(f"wandb is off, {reason}; training goes on, metrics.jsonl has every row")


def _bests(path: Path) -> dict[str, dict[str, float]]:
    """Best and last value of each of `BESTS` over all rows: wandb saw few of them, and none of an earlier session's."""
    found: dict[str, dict[str, float]] = {}
    for row in read_metrics(path):
        for name, best in BESTS.items():
            value = row.get(name)
            if isinstance(value, (int, float)) and math.isfinite(value):
                pick = max if best == "max" else min
                found[name] = {best: pick(value, found.get(name, {}).get(best, value)), "last": value}
    return found


def why_offline(settings: Any) -> str:
    """Why wandb cannot be online, or nothing: looks for an account and an open port, without a prompt, within 5 s."""
    address = urlsplit(settings.base_url)
    key = os.environ.get("WANDB_API_KEY") or getattr(settings, "api_key", None)
    if not key and not getattr(settings, "identity_token_file", None):
        try:
            path = os.environ.get("NETRC") or str(Path.home() / ".netrc")
            key = netrc.netrc(path).authenticators(address.hostname or "")
        except (OSError, RuntimeError, netrc.NetrcParseError):
            key = None
        if not key:
            return "no account is configured (wandb login)"
    proxy = urlsplit(getproxies().get(address.scheme, ""))
    host = proxy if proxy.hostname else address
    port = host.port or (443 if host.scheme == "https" else 80)
    reached = threading.Event()

    def connect() -> None:  # in a thread, as looking a name up knows no timeout
        try:
            socket.create_connection((host.hostname or "", port), timeout=5.0).close()
            reached.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(5.0)
    return "" if reached.is_set() else f"{host.hostname} cannot be reached"


def first_line(error: Exception) -> str:
    """An error as one line, for a warning."""
    return f"{type(error).__name__}: {error}".strip().split("\n")[0][:200]


def warn(message: str, note: bool = False) -> None:
    """One line on stderr, above the progress bar; a note is no warning."""
    tqdm.write(message if note else f"warning: {message}", file=sys.stderr)
