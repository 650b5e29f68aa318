"""A study's trials in Optuna's storage: opened under a lock, on SQLite for one machine, errors in a line."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import warnings
from collections.abc import Iterator
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
WAIT = 60  # seconds for SQLite, while another process writes
FULL = ("disk is full", "disk I/O", "readonly", "unable to open", "No space left")


def check_url(url: str) -> None:
    """Refuse an address that says a password, which would stand in a file.

    Raises:
        UsageError: it does, or it is no address.
    """
    parts = urlsplit(url)
    if not parts.scheme or not parts.path.strip("/"):
        raise UsageError(f"--storage {url}: must be an address of SQLAlchemy, as postgresql://USER@HOST/DATABASE")
    if parts.password:
        raise UsageError("--storage holds a password; leave it out of the address: ~/.pgpass or $PGPASSWORD has it")


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a study, for what one worker at a time may do.

    Raises:
        DiskError: its file cannot be written, as the folder is gone.
    """
    with writing(folder / ".lock"):
        file = open(folder / ".lock", "a")  # noqa: SIM115
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def working(study: Study) -> Iterator[None]:
    """Be a worker of a study. Those of one on SQLite are on one machine: its locks do not reach across a network.

    Raises:
        UsageError: workers of another machine are there.
    """
    if "storage" in study.record:
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
        raise UsageError(f"there is a study {study.name} at {study.record.get('storage')}; give another name") from None
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

    if "storage" not in study.record and not (study.path / "study.db").exists():
        raise UsageError(f"study {study.name} has lost its trials: {study.path / 'study.db'} is gone; {study.again}")
    with lock(study.path):
        storage = _open(study, study.path)
    try:
        with failures(study):
            try:
                yield optuna.load_study(
                    storage=storage, study_name=study.name, sampler=sampler(study, 0), pruner=_pruner(study)
                )
            except KeyError:
                where = study.record.get("storage", study.path / "study.db")
                raise UsageError(f"{where} has no study {study.name}; {study.again}") from None
    finally:
        storage.engine.dispose()


def _open(study: Study, folder: Path) -> optuna.storages.RDBStorage:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    url = study.record.get("storage", "").replace("postgresql://", "postgresql+psycopg://", 1)
    url = url or f"sqlite:///{folder / 'study.db'}"
    options: dict[str, Any] = {"connect_args": {"timeout": WAIT}} if "storage" not in study.record else {}
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
        said, where = str(cause).strip().split("\n")[0], study.record.get("storage", study.path / "study.db")
        if any(word in said for word in FULL):
            raise DiskError(f"cannot write {where}: {said}; free space, then rlgen study work {study.name}") from error
        raise RlgenError(f"the trials of study {study.name} cannot be read or written, {where}: {said}") from error


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
