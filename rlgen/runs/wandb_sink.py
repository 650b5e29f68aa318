"""The wandb sink: one thread of its own, so that whatever happens there can neither stop nor slow training."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import queue
import shlex
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlgen.runs import wandb_environment
from rlgen.runs.best import compared
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run
from rlgen.runs.summary import status_of
from rlgen.runs.wandb_account import first_line, why_offline
from rlgen.runs.wandb_artifacts import Artifacts
from rlgen.runs.wandb_process import service
from rlgen.secret import command_line, scrubbed
from rlgen.text import warn

Row = dict[str, Any]
BESTS = {"charts/episodic_return": "max", "eval/episodic_return": "max", "eval/nll": "min"}  # kept in wandb's summary
OPTIONAL_SETTINGS: dict[str, Any] = {  # that other versions of wandb may not have
    "x_disable_stats": True,  # no system metrics
    "x_transaction_log_flush_interval": 1.0,  # with IDLE_SECONDS, at most 2 s of rows are lost to a kill
    "finish_timeout": 33.0,  # no endless upload
    "finish_timeout_raises": True,  # an error where it was cut off
}
PRIVATE_SETTINGS: dict[str, Any] = {  # that a version must have to be private
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
    "disable_git": True,
    "save_code": False,
    "host": "private",
}


class Wandb:
    """The wandb sink. What it raises becomes one warning and turns it off; at 300 us a call it is rationed.

    Args:
        run: whose rows it gets.
        mode: auto (online with an account and a network, else offline), online, offline or disabled.
    """

    ROW_SECONDS = 0.25  # between training rows
    IDLE_SECONDS = 0.5  # after which a row held back goes out, if none followed
    START_SECONDS = 4.5  # that training waits for it; rows of a slower start wait in the queue
    ARTIFACT_SECONDS = 10.0  # for naming artifacts to the server, which wandb asks about each, without an end
    FINISH_SECONDS = 45.0  # that the end of the run waits for it
    SAYING_SECONDS = 2.0  # that a thread which turned it off has to say so

    def __init__(self, run: Run, mode: str) -> None:
        self.note = ""  # where its files are, or its address
        self._run = run
        self._private = bool(run.config.get("wandb_private"))
        self._wandb_run: Any = None
        self._off, self._online, self._hangs = False, False, False
        self._problems: list[str] = []  # with artifacts and the end: one line about the first of them
        self._unsent: Row | None = None  # a row held back
        self._next = 0.0  # time of the next training row
        self._lock = threading.Lock()  # of the row held back, which either thread may send
        self._jobs: queue.Queue[Callable[[], Any] | None] = queue.Queue(maxsize=1000)
        self._thread: threading.Thread | None = None
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE", "auto")
        if mode != "disabled":
            service.use()
            started = threading.Event()
            self._thread = threading.Thread(target=self._work, args=(mode, started), name="wandb-sink", daemon=True)
            self._thread.start()
            started.wait(self.START_SECONDS)

    def log(self, row: Row, always: bool) -> None:
        """Send a row, if it is time to or always; one held back goes out with the next or after a moment."""
        if self._thread is None or self._off:
            return
        now = time.monotonic()
        with self._lock:
            if always or now >= self._next:
                self._next = now + self.ROW_SECONDS
                rows = [self._unsent, row] if always and self._unsent else [row]
                self._unsent = None
                self._enqueue(lambda: [self._wandb_run.log(each) for each in rows])
            else:
                self._unsent = row

    def image(self, step: int, name: str, path: Path) -> None:
        """Send a picture or video from its file."""

        def send() -> None:
            media = self._wandb.Image if path.suffix in (".png", ".jpg") else self._wandb.Video
            self._wandb_run.log({name: media(str(path)), "global_step": step})

        self._enqueue(send)

    def alert(self, title: str, text: str, level: str = "ERROR") -> None:
        """Have wandb send a message to whoever asked it to; offline it is of no consequence."""
        self._enqueue(lambda: self._wandb_run.alert(title=title, text=scrubbed(text), level=level))

    def finish(self, exit_code: int) -> None:
        """Send what is left and end the run; given up after a time, or by Ctrl-C, should its process hang."""
        if self._thread is None:
            return
        begin = time.monotonic()
        try:
            if not self._off:
                self._wait(self._thread, exit_code, 0.0 if service.hangs() else self.FINISH_SECONDS)
        except KeyboardInterrupt:
            self._off, self._hangs = True, True
            raise
        finally:
            if self._hangs:
                service.give_up()
            with contextlib.suppress(queue.Full):
                self._jobs.put_nowait(None)
            if not self._hangs:
                self._thread.join(self.SAYING_SECONDS)
            self._thread, self._wandb_run = None, None
            service.leave(time.monotonic() - begin)

    def _wait(self, thread: threading.Thread, exit_code: int, seconds: float) -> None:
        """Let the thread finish the run."""
        end = time.monotonic() + seconds
        with contextlib.suppress(queue.Full):  # then the thread hangs
            self._jobs.put(lambda: self._finish(exit_code), timeout=min(seconds, 5.0))
            self._jobs.put_nowait(None)
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive() and not self._off:
            self._off, self._hangs, self.note = True, True, ""
            if service.tell():
                warn("wandb did not finish in time and is left behind; metrics.jsonl has every row")

    def _work(self, mode: str, started: threading.Event) -> None:
        """The thread: start, then do the jobs in their order, until None."""
        self._attempt("starting", lambda: self._start(mode))
        started.set()
        if not (self._private or self._off):
            self._send_aside(lambda: self._artifacts.send_code())
        while True:
            try:
                job = self._jobs.get(timeout=self.IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    row, self._unsent = self._unsent, None
                if row:
                    self._attempt("logging", lambda row=row: self._wandb_run.log(row))  # type: ignore[misc]
                continue
            if job is None:
                return
            self._attempt("logging", job)

    def _start(self, mode: str) -> None:
        wandb_environment.prepare(self._run.path)
        self._wandb = importlib.import_module("wandb")
        online = False
        settings = self._wandb.setup().settings if mode in ("auto", "online") else None  # with the settings files
        if mode == "auto" and (said := getattr(settings, "mode", "")) in ("offline", "dryrun", "disabled"):
            mode, self._off = said, said == "disabled"  # `wandb offline` and `wandb disabled` write it there
        if self._off:
            return
        if mode in ("auto", "online"):
            reason = why_offline(settings)
            online = not reason
            if reason:
                path = Path(wandb_environment.folder(self._run.path)) / "wandb"
                warn(f"wandb is offline: {reason}; later: wandb sync {path}/offline-run-*", mode == "auto")
        wandb_run = None
        if online:
            try:
                wandb_run = self._begin_run("online", self._run.info["wandb_id"])
                self.note = wandb_run.url
            except Exception as error:
                warn(f"wandb is offline: {first_line(error)}")
        if wandb_run is None:
            wandb_id = self._run.info["wandb_id"]  # taken in this process, where the server failed in the middle
            online, wandb_run = False, self._begin_run("offline", f"{wandb_id}-offline" if online else wandb_id)
            self.note = f"wandb sync {Path(wandb_run.dir).parent}"
        self._online = online
        self._link(Path(wandb_run.dir).parent)
        wandb_run.define_metric("global_step")
        wandb_run.define_metric("*", step_metric="global_step")  # x-axis: wandb's own step restarts on a resume
        for name, best in BESTS.items():
            wandb_run.define_metric(name, step_metric="global_step", summary=f"{best},last")
        self._wandb_run, self._artifacts = wandb_run, Artifacts(self._wandb, wandb_run, self._run)

    def _begin_run(self, mode: str, wandb_id: str) -> Any:
        run, config = self._run, self._config()
        target = config.get("env_id") or config.get("data")
        settings: dict[str, Any] = {"console": "off", "silent": True, "init_timeout": 10.0}
        for name, value in OPTIONAL_SETTINGS.items():
            with contextlib.suppress(Exception):
                self._wandb.Settings(**{name: value})
                settings[name] = value
        if command_line(sys.argv) != shlex.join(sys.argv):  # it would write them as they are
            settings["x_disable_meta"] = True
        if self._private:
            settings |= PRIVATE_SETTINGS  # one that is missing raises: no run rather than one that tells
        version = f"rlgen-{run.info.get('rlgen_version')}"
        own = [tag.strip() for text in config.get("wandb_tags") or () for tag in text.split(",")]
        tags = (*own, config["algo"], target, version, (config.get("git_commit") or "")[:8])
        return self._wandb.init(
            project=config.get("wandb_project") or "rlgen",
            entity=config.get("wandb_entity"),
            id=wandb_id,
            resume="allow",
            reinit="create_new",  # a notebook's own wandb run stays its own
            dir=wandb_environment.folder(run.path),
            config=scrubbed(config),
            group=(config.get("wandb_group") or f"{target}__{config['algo']}")[:128],
            tags=list(dict.fromkeys(str(tag)[:64] for tag in tags if tag)),
            mode=mode,
            settings=self._wandb.Settings(**settings),
            **wandb_environment.described(run.info, run.name),
        )

    def _config(self) -> dict[str, Any]:
        """The flat configuration, the run's parent and the commit; in private mode neither commit nor path."""
        run = self._run
        config = run.config | ({"parent": run.info["parent"]} if run.info.get("parent") else {})
        if not self._private:
            return config | {"git_commit": run.info.get("git_commit")}
        config = {name: value for name, value in config.items() if name not in ("runs_dir", "data_dir")}
        for name, value in config.items():  # `data` may be a folder, and so may be an algorithm's own option
            if isinstance(value, str) and (name in ("data", "parent") or value[:1] in ("/", "~", ".")):
                config[name] = Path(value).name
        return config

    def _link(self, folder: Path) -> None:
        """Show the run's folder in `<runs_dir>/wandb` too, where wandb's own commands look for many runs."""
        shared = self._run.path.parent / "wandb"
        with contextlib.suppress(OSError):  # a file system without links: each run's own folder is there
            shared.mkdir(exist_ok=True)
            (shared / folder.name).symlink_to(Path(os.path.relpath(folder, shared)))

    def _finish(self, exit_code: int) -> None:
        if self._unsent:
            self._wandb_run.log(self._unsent)
        try:
            status = status_of(exit_code)  # to wandb an interrupted run is a failed one
            self._wandb_run.summary.update(_bests(self._run.path) | {"status": status})
        except Exception as error:
            self._problems.append(first_line(error))
        if not self._private:  # wandb names the absolute path of every file, in an artifact's manifest and its own file
            self._send_aside(lambda: self._artifacts.send_results(exit_code))
        try:
            self._wandb_run.finish(exit_code=exit_code)
        except Exception as error:
            self._problems.append(first_line(error))
        if self._problems and not self._off:
            warn(f"wandb has not all results: {self._problems[0]}; the run directory has them")

    def _send_aside(self, send: Callable[[], Any]) -> None:
        """Send artifacts without stopping for them: the rows matter more, so what goes wrong is said at the end."""

        def attempt() -> None:
            try:
                send()
            except Exception as error:
                self._problems.append(first_line(error))

        thread = threading.Thread(target=attempt, name="wandb-artifacts", daemon=True)
        thread.start()
        thread.join(self.ARTIFACT_SECONDS if self._online else None)
        if thread.is_alive():
            self._problems.append("its server does not answer")

    def _enqueue(self, job: Callable[[], Any]) -> None:
        if self._thread is None or self._off:
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._turn_off("it hangs", hangs=True)

    def _attempt(self, doing: str, call: Callable[[], Any]) -> None:
        if self._off:
            return
        try:
            call()
        except Exception as error:
            self._turn_off(f"{doing} failed: {first_line(error)}")

    def _turn_off(self, reason: str, hangs: bool = False) -> None:
        if self._off:  # by the other thread
            return
        self._off, self._unsent, self._hangs, self.note = True, None, hangs, ""
        logging.raiseExceptions = False  # on a full disk its logger would print a traceback a line
        if service.tell():
            warn(f"wandb is off, {reason}; training goes on, metrics.jsonl has every row")


def _bests(path: Path) -> dict[str, dict[str, float]]:
    """Best and last value of each of `BESTS` over all rows: wandb saw few of them, and none of an earlier session's."""
    found: dict[str, dict[str, float]] = {}
    for row in read_metrics(path):
        for name, best in BESTS.items():
            last, value = row.get(name), compared(row, name)
            if isinstance(last, (int, float)) and math.isfinite(last) and math.isfinite(value):
                pick = max if best == "max" else min
                found[name] = {best: pick(value, found.get(name, {}).get(best, value)), "last": last}
    return found
