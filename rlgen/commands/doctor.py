"""What there is on this machine: environments, extras, versions, room on the disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from rlgen import __version__
from rlgen.errors import RlgenError
from rlgen.options import algorithms as registry

PACKAGES = ("torch", "gymnasium", "numpy", "wandb", "tqdm", "tyro", "rich", "safetensors", "pillow", "scikit-learn")
EXTRAS = {"atari": "ale_py", "box2d": "Box2D", "mujoco": "mujoco", "minigrid": "minigrid"}  # extra and its module
ACTIONS = {
    "mujoco": "continuous",
    "ALE": "discrete",
    "minigrid": "discrete",
}  # of a whole group
ELSEWHERE = (("ALE/*", "ALE", "ALE/Pong-v5"), ("MiniGrid-*", "minigrid", "MiniGrid-Empty-5x5-v0"))  # other packages'
CHEAP = (
    "classic_control",
    "toy_text",
    "box2d",
)  # made in milliseconds, to see their actions


def environments() -> list[dict[str, Any]]:
    """The newest version of every registered environment: `env`, `group`, `actions`, and what it `needs` installed."""
    import gymnasium as gym

    from rlgen.envs.stream import check_env_id

    rows = []
    for pattern, group, example in ELSEWHERE:
        try:
            check_env_id(example)  # registers its siblings, where the package is installed
        except RlgenError as error:
            rows.append({"env": pattern, "group": group, "actions": "discrete", "needs": _install(error)})
    newest: dict[tuple[str | None, str], Any] = {}
    for spec in gym.registry.values():
        if not getattr(spec.entry_point, "__name__", "").startswith("_raise"):  # stands in for a retired environment
            last = newest.setdefault((spec.namespace, spec.name), spec)
            if (spec.version or 0) > (last.version or 0):
                newest[spec.namespace, spec.name] = spec
    for spec in newest.values():
        entry = spec.entry_point or spec.vector_entry_point
        parts = (entry if isinstance(entry, str) else entry.__module__).partition(":")[0].split(".")
        group = spec.namespace or (parts[2] if parts[:2] == ["gymnasium", "envs"] else parts[0])
        row = {"env": spec.id, "group": group, "actions": ACTIONS.get(group, ""), "needs": ""}
        try:
            check_env_id(spec.id)
            if group in CHEAP:
                env = gym.make(spec.id)
                row["actions"] = "discrete" if isinstance(env.action_space, gym.spaces.Discrete) else "continuous"
                env.close()
        except RlgenError as error:
            row["needs"] = _install(error)
        rows.append(row)
    return sorted(rows, key=lambda row: row["group"])


def _install(error: RlgenError) -> str:
    return str(error)[max(0, str(error).find("pip install")) :]


def report(runs_dir: str) -> dict[str, Any]:
    """Versions, device, extras and disk, and the `problems` among them, one line each."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"rlgen": __version__, "python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    found["cuda"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    found |= {"cores": cores, "threads": torch.get_num_threads()}
    for extra, module in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        found[f"extra {extra}"] = "installed" if there else f'pip install "rlgen[{extra}]"'
    path = Path(runs_dir).absolute()
    parent = next(place for place in (path, *path.parents) if place.exists())
    found |= {"runs_dir": str(path), "disk_free_gb": round(shutil.disk_usage(parent).free / 1e9, 1)}

    problems = [f"package {name!r} is {place}, not rlgen's" for name, place in registry.shadowed().items()]
    problems += [f"{package} is not installed" for package in PACKAGES if found[package] is None]
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problems.append(f"{path} cannot be written; give another --runs-dir")
    if found["disk_free_gb"] < 1:
        problems.append(f"less than 1 GB is free in {parent}")
    return found | {"problems": problems}
