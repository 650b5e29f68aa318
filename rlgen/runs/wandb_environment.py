"""What wandb's environment variables say of a run, and a process that finds a place for its own log.

`WANDB_PROJECT`, `_ENTITY`, `_RUN_GROUP` and `_TAGS` are options (`rlgen.options.config`). `WANDB_NAME`, `_JOB_TYPE` and
`_NOTES` are recorded when a run is made, so that a resume elsewhere keeps them. `WANDB_DIR` is asked every time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rlgen.secret import scrubbed

RECORDED = {"name": "WANDB_NAME", "job_type": "WANDB_JOB_TYPE", "notes": "WANDB_NOTES"}  # wandb.init's name for each


def recorded() -> dict[str, Any]:
    """What a new run records, as arguments of `wandb.init`, without secrets."""
    found = {name: os.environ[variable] for name, variable in RECORDED.items() if os.environ.get(variable)}
    return scrubbed(found)  # wandb's own files too are files of the run


def described(info: dict[str, Any], name: str) -> dict[str, Any]:
    """What `wandb.init` is told of a run's name, job and notes.

    Args:
        info: the run's config.json.
        name: the run's, which stands where no other was asked for; the seed tells runs of one command apart.
    """
    asked = dict(info.get("wandb_environment") or {})
    if "name" in asked and len(info.get("together") or ()) > 1:
        asked["name"] += f"-{info['config']['seed']}"
    return {"name": name, "job_type": "train"} | asked


def folder(run: Path) -> str:
    """Where wandb's files of a run go: its own directory, or that of $WANDB_DIR."""
    return os.environ.get("WANDB_DIR") or str(run)


def prepare(run: Path) -> None:
    """Settings that wandb reads from the environment alone; what the user has set stays.

    Its process writes a log to the user's cache, or to the terminal where there is none: then into the run.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its telemetry is a third of the cost of a call
    os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # it takes our `agents` for a package of that name
    os.environ.setdefault("WANDB_SILENT", "true")  # a run's own setting does not keep its warnings off the terminal
    if not has_cache():
        os.environ["WANDB_CACHE_DIR"] = str(run.absolute() / "wandb" / "cache")


def has_cache() -> bool:
    """Whether wandb's process can write its log: makes its folder, as that would."""
    cache, home = os.environ.get("WANDB_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME")
    if not (cache or home):
        return False
    logs = Path(cache or f"{home}/.cache") / "wandb" / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(logs, os.W_OK)
