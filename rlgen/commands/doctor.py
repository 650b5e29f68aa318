"""`rlgen doctor`: what is installed, the device, room on the disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgen import __version__
from rlgen.errors import install, one_line
from rlgen.options import algorithms, parsed_module

REQUIREMENT = re.compile(r"([\w.-]+)(\[[\w,-]+\])?")  # name, and the extras of that package
EXTRA = re.compile(r"\bextra\s*==\s*[\"']([\w.-]+)")
MODULES = {  # what is imported, of packages that another one names as its extra, and where several packages have it
    "gymnasium[box2d]": "Box2D",
    "gymnasium[mujoco]": "mujoco",
    "gymnasium[classic-control]": "pygame",
    "opencv-python-headless": "cv2",
    "psycopg[binary]": "psycopg",
}


@dataclass(frozen=True)
class Options:
    """Check the installation and the machine."""

    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs would go
    clear_compiled: bool = False  # remove the gradient steps that were compiled on this machine


def run(options: Options) -> dict[str, Any]:
    """Versions, device, extras and disk, and the `problems` among them, one line each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"rlgen": __version__, "python": platform.python_version(), "system": platform.platform()}
    packages, extras = requirements()
    found |= {package: version(package) for package in packages}
    problems = [f"{name} is not installed: {install(name)}" for name in packages if found[name] is None]
    found["cores"] = cores
    try:
        import torch

        found["cuda"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        found["threads"] = torch.get_num_threads()
        found["compiled steps"] = compiled_steps(options.clear_compiled)
    except (ImportError, OSError) as error:  # OSError: a library that it is linked to is not there
        if found["torch"]:
            problems.append(f"torch cannot be imported: {one_line(error)}")
    for extra, needed in extras.items():
        missing = [package for package in needed if not installed(package)]
        found[f"extra {extra}"] = install(*missing) if missing else "installed"
    path = Path(options.runs_dir).absolute()
    parent = next(place for place in (path, *path.parents) if place.exists())
    found |= {"runs_dir": str(path), "disk_free_gb": round(shutil.disk_usage(parent).free / 1e9, 1)}

    problems += [f"package {name!r} is {place}, not rlgen's" for name, place in algorithms.shadowed().items()]
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problems.append(f"{path} cannot be written; give another --runs-dir")
    if found["disk_free_gb"] < 1:
        problems.append(f"less than 1 GB is free in {parent}")
    return found | {"problems": problems}


def compiled_steps(clear: bool) -> str:
    """Where gradient steps are kept that were compiled, and how much of them there is; all removed before, if asked."""
    from rlgen.speed import machine_code

    try:
        place = machine_code.folder()
    except machine_code.CannotCompileError as error:
        return f"none: {error}"
    if clear:
        machine_code.clear(place)
    return f"{machine_code.size(place) / 1e6:.1f} MB in {place}"


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """The packages that rlgen needs, and those of each extra, by a clone's pyproject.toml, else as it was installed."""
    file = parsed_module.ROOT / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        needed, extras = project["dependencies"], project["optional-dependencies"]
    else:
        lines = importlib.metadata.requires("rlgen") or []
        needed, extras = [line for line in lines if not EXTRA.search(line)], {}
        for line in lines:
            if extra := EXTRA.search(line):
                extras.setdefault(extra[1], []).append(line)
    return [named(line) for line in needed], {extra: [*map(named, lines)] for extra, lines in extras.items()}


def named(requirement: str) -> str:
    """The package of a requirement, without versions: `gymnasium[box2d]`."""
    match = REQUIREMENT.match(requirement)
    assert match, requirement
    return match[0]


def installed(package: str) -> bool:
    """Whether a package is there, with those of its extra."""
    if module := MODULES.get(package):
        return importlib.util.find_spec(module) is not None
    return version(package.partition("[")[0]) is not None


def version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
