"""What a run ran on: versions, git commit, hardware."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "gymnasium", "numpy", "wandb", "ale-py")


def provenance() -> dict[str, Any]:
    """The entries of config.json that say what made the run: rlgen_version, git_commit, versions, hardware."""
    return {
        "rlgen_version": version("rlgen"),
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "hardware": hardware(),
    }


def version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
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


def hardware() -> dict[str, Any]:
    """Host, platform, CPU cores that this process may use, and GPUs."""
    import torch

    from rlgen.speed.device import cores

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"host": platform.node(), "platform": platform.platform(), "cpu_cores": cores(), "gpus": gpus}
