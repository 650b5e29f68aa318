"""A study's trials in Optuna's storage: opened under a lock, on SQLite for one machine, errors in a line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import sqlite3
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rlgen.errors import DiskError, MissingExtraError, RlgenError, UsageError
from rlgen.files import writing
from rlgen.study.record import Study

if TYPE_CHECKING:
    import optuna

RETRIES = 3  # of a trial whose worker ended without a word
SILENT = 3  # signs of life that a worker misses until its trial is given to another
SQLITE = "sqlite"
WAIT = 60  # seconds for SQLite, while another process writes
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL = ("disk is full", "disk I/O", "readonly", "unable to open", "No space left")


def checked_url(url: str) -> str:
    """The address as it stands in a file: that of SQLite means the same in any directory.

    Raises:
        UsageError: it says a password, which would stand there, or it is no address.
    """
    import sqlalchemy

    form = "must be an address of SQLAlchemy, as postgresql://USER@HOST/DATABASE"
    try:
        parts = urlsplit(url)
        if parts.password:
            raise UsageError("--storage holds a password; leave it out of the address: ~/.pgpass or $PGPASSWORD has it")
        if not parts.scheme or not parts.path.strip("/"):
            raise UsageError(f"--storage {url}: {form}")
        read = sqlalchemy.make_url(url)
        read.get_dialect()
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:  # no such database, a port that is no number
        raise UsageError(f"--storage {url}: {form}") from error
    except ImportError:  # is said where it is opened
        return url
    if read.get_backend_name() != SQLITE or not read.database:
        return url
    return read.set(database=str(Path(read.database).resolve())).render_as_string()


def sqlite_file(study: Study, folder: Path | None = None) -> Path | None:
    """The file that holds the trials; None in another database.

    Args:
        study: whose.
        folder: where a study that is being made lies.
    """
    import sqlalchemy

    if "storage" not in study.record:
        return (folder or study.path) / "study.db"
    if study.record["storage"].partition(":")[0].partition("+")[0] != SQLITE:
        return None
    return Path(sqlalchemy.make_url(study.record["storage"]).database or "")


@contextlib.contextmanager
def lock(folder: Path, reads: bool = False) -> Iterator[None]:
    """Hold the lock of a study, for what one worker at a time may do.

    Args:
        folder: of the study.
        reads: go on without it where nothing can be written: the study is another user's, or on a disk to read from.

    Raises:
        DiskError: its file cannot be written, as the folder is gone.
    """
    try:
        with writing(folder / ".lock"):
            file = open(folder / ".lock", "a")  # noqa: SIM115
    except DiskError as error:
        if not (reads and isinstance(error.__cause__, OSError) and error.__cause__.errno in READ_ONLY):
            raise
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def working(study: Study) -> Iterator[None]:
    """Be a worker of a study. With SQLite all workers have to be on one machine: its locks do not reach further.

    Raises:
        UsageError: workers of another machine are there.
    """
    if sqlite_file(study) is None:
        yield
        return
    host = socket.gethostname()
    with lock(study.path):
        file = open(study.path / ".host", "a+")  # noqa: SIM115
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody works
            file.truncate(0)
            file.write(host)
            file.flush()
        file.seek(0)
        other = file.read()
        if other != host:
            file.close()
            raise UsageError(
                f"study {study.name} is on SQLite, and workers of {other} hold it; for several machines create it "
                "with --storage postgresql://USER@HOST/DATABASE"
            )
        fcntl.flock(file, fcntl.LOCK_SH)  # until this process ends, however it does
    with file:
        yield


def create(study: Study, folder: Path, trials: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Make a study's trials, all of them waiting.

    Args:
        study: whose.
        folder: where its file lies now; it gets its name later.
        trials: the values that each begins with, and its attributes; the sampler chooses the other values.

    Raises:
        UsageError: there is a study of this name at the address, or the address does not answer.
    """
    import optuna

    directions: list[Any] = [study.record["direction"], *["minimize"] * ("second" in study.record)]
    storage = _open(study, folder)
    try:
        with failures(study):
            created = optuna.create_study(
                storage=storage, study_name=study.name, directions=directions, sampler=sampler(study, 0)
            )
            try:
                for values, attributes in trials:
                    created.enqueue_trial(values, user_attrs=attributes)
            except BaseException:  # Ctrl-C too: the half of a study would hold its name in a database for ever
                optuna.delete_study(study_name=study.name, storage=storage)
                raise
    except optuna.exceptions.DuplicatedStudyError:
        raise UsageError(f"there is a study {study.name} at {where(study)}; give another name") from None
    finally:
        storage.engine.dispose()


@contextlib.contextmanager
def opened(study: Study) -> Iterator[optuna.Study]:
    """Optuna's study.

    Raises:
        UsageError: it is not there.
        DiskError: its file cannot be read or written.
    """
    import optuna

    if (file := sqlite_file(study)) and not file.exists():
        raise UsageError(f"study {study.name} has lost its trials: {file} is gone; {study.again}")
    with lock(study.path, reads=True):  # tables are made by one at a time
        storage = _open(study, study.path)
    try:
        with failures(study):
            try:
                yield optuna.load_study(
                    storage=_begun_first(storage),
                    study_name=study.name,
                    sampler=sampler(study, 0),
                    pruner=_pruner(study),
                )
            except KeyError:
                raise UsageError(f"{where(study)} has no study {study.name}; {study.again}") from None
    finally:
        storage.engine.dispose()


def _begun_first(storage: optuna.storages.RDBStorage) -> optuna.storages.BaseStorage:
    """The storage, in which trials that wait again come before those that nobody has begun: half of them is there."""
    import optuna

    waiting, found = (optuna.trial.TrialState.WAITING,), optuna.storages.get_storage(storage)
    every = found.get_all_trials

    def get_all_trials(study_id: int, deepcopy: bool = True, states: Any = None) -> list[optuna.trial.FrozenTrial]:
        trials = every(study_id, deepcopy, states)
        if states == waiting:  # who asks for these takes the first
            trials.sort(key=lambda trial: "retry_history" not in trial.system_attrs)
        return trials

    found.get_all_trials = get_all_trials  # type: ignore[method-assign]
    return found


def _open(study: Study, folder: Path) -> optuna.storages.RDBStorage:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    url = study.record.get("storage", "").replace("postgresql://", "postgresql+psycopg://", 1)
    options: dict[str, Any] = {}
    if file := sqlite_file(study, folder):  # an address has no room for every name of a folder
        url = f"{SQLITE}:///study.db"
        options["creator"] = partial(sqlite3.connect, file, timeout=WAIT, check_same_thread=False)
    try:
        with failures(study):
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=study.record["heartbeat"],
                grace_period=SILENT * study.record["heartbeat"],
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(RETRIES),
            )
    except ImportError:
        scheme = url.partition(":")[0].partition("+")[0]
        if scheme == "postgresql":
            raise MissingExtraError(f"{scheme} needs a package", "psycopg[binary]") from None
        raise MissingExtraError(f"--storage {scheme}: needs SQLAlchemy's driver for it: install that") from None


@contextlib.contextmanager
def failures(study: Study) -> Iterator[None]:
    """What a storage refuses is one line.

    Raises:
        DiskError: it cannot be written.
        RlgenError: it does not answer.
    """
    import optuna
    import sqlalchemy

    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "version" not in str(error):
            raise
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = str(cause).strip().split("\n")[0]
        if any(word in said for word in FULL):
            raise DiskError(
                f"cannot write {where(study)}: {said}; free space, then rlgen study work {study.name}"
            ) from error
        raise RlgenError(
            f"the trials of study {study.name} cannot be read or written, {where(study)}: {said}"
        ) from error


def where(study: Study) -> str:
    """What holds the trials."""
    return str(sqlite_file(study) or study.record.get("storage"))


def sampler(study: Study, begun: int) -> optuna.samplers.BaseSampler:
    """What chooses the values of the next trial. A grid's are chosen already.

    Args:
        study: whose.
        begun: trials before it: each draws random numbers of its own, whoever trains it.
    """
    import optuna

    if study.record["sampler"] == "tpe":
        at_random = max(4, min(10, study.record["trials"] // 3))
        return optuna.samplers.TPESampler(n_startup_trials=at_random, constant_liar=True, seed=begun)
    if study.record["sampler"] == "cmaes":
        try:
            import cmaes  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtraError("--sampler cmaes needs a package", "cmaes") from None
        return optuna.samplers.CmaEsSampler(seed=begun, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=begun)


def _pruner(study: Study) -> optuna.pruners.BasePruner:
    import optuna

    whole = max(2, min(5, study.record["trials"] // 3))  # trials that are compared with
    return optuna.pruners.MedianPruner(whole) if study.record["prune"] == "median" else optuna.pruners.NopPruner()
