"""`rlgen doctor`: what is installed, the device, room on the disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgen import __version__
from rlgen.options import algorithms

PACKAGES = ("torch", "gymnasium", "numpy", "wandb", "tqdm", "tyro", "rich", "safetensors", "pillow", "scikit-learn")
EXTRAS = {"atari": "ale_py", "box2d": "Box2D", "mujoco": "mujoco", "minigrid": "minigrid"}  # extra and its module


@dataclass(frozen=True)
class Options:
    """Check the installation and the machine."""

    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs would go


def run(options: Options) -> dict[str, Any]:
    """Versions, device, extras and disk, and the `problems` among them, one line each."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"rlgen": __version__, "python": platform.python_version(), "system": platform.platform()}
    found |= {package: version(package) for package in PACKAGES}
    found["cuda"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    found |= {"cores": cores, "threads": torch.get_num_threads()}
    for extra, module in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        found[f"extra {extra}"] = "installed" if there else f'pip install "rlgen[{extra}]"'
    path = Path(options.runs_dir).absolute()
    parent = next(place for place in (path, *path.parents) if place.exists())
    found |= {"runs_dir": str(path), "disk_free_gb": round(shutil.disk_usage(parent).free / 1e9, 1)}

    problems = [f"package {name!r} is {place}, not rlgen's" for name, place in algorithms.shadowed().items()]
    problems += [f"{package} is not installed" for package in PACKAGES if found[package] is None]
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problems.append(f"{path} cannot be written; give another --runs-dir")
    if found["disk_free_gb"] < 1:
        problems.append(f"less than 1 GB is free in {parent}")
    return found | {"problems": problems}


def version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
