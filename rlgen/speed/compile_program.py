"""Compile a program in a process of its own: `python compile_program.py FOLDER`, which `machine_code` starts.

FOLDER holds `program.json`: the text of a function of tensors, and their sizes. The package appears in the folder
above, whole, with its checksum beside it. Nothing of rlgen is imported here: the process is to start fast.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

SECONDS = 600  # of one compilation, after which it is given up
MOST_BYTES = 512 * 2**20  # of all packages; the ones that were used last are kept


def main(folder: Path) -> None:
    """Compile the program in a folder, unless another process was faster."""
    cache, key = folder.parent, folder.name.split("-")[1]
    description = json.loads((folder / "program.json").read_text())
    os.nice(description["nice"])
    failed = cache / f"{key}.failed"  # there until the end: what is killed has failed too
    try:
        failed.touch()
        with open(cache / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time: a compilation takes all of a core and 1 GB
            if not (cache / f"{key}.json").exists():
                package = compiled(description, folder)
                content = package.read_bytes()
                manifest = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
                (folder / "manifest.json").write_text(json.dumps(manifest))
                os.replace(package, cache / f"{key}.pt2")
                os.replace(folder / "manifest.json", cache / f"{key}.json")  # the last one: now it is there
                evict(cache)
        with open(cache / f"{description['work']}.work", "a") as work:
            work.write(f"{key}\n")
        failed.unlink(missing_ok=True)  # who waited for another process shares it with that one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compiled(description: dict[str, Any], folder: Path) -> Path:
    """The package of a program, not yet where it belongs."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    warnings.simplefilter("ignore")
    import torch

    names: dict[str, Any] = {"torch": torch, "device": torch.device, "inf": math.inf, "nan": math.nan}
    exec(description["text"].strip(), names)  # written by the process that started this one, in a private folder

    class Program(torch.nn.Module):
        forward = names["forward"]

    torch.set_num_threads(description["threads"])
    inputs = tuple(
        torch.zeros(1, dtype=getattr(torch, dtype)).new_empty_strided(shape, stride).zero_()
        for shape, stride, dtype in description["inputs"]
    )
    exported = torch.export.export(Program(), inputs)
    path = torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / "package.pt2"))
    return Path(path)


def evict(cache: Path) -> None:
    """Remove the packages that were not used for longest, until the others fit."""
    left = MOST_BYTES
    for path in sorted(cache.glob("*.pt2"), key=lambda path: path.stat().st_mtime, reverse=True):
        left -= path.stat().st_size
        if left < 0:
            for part in (path.with_suffix(".json"), path):
                with contextlib.suppress(OSError):
                    part.unlink()


if __name__ == "__main__":
    import signal

    signal.alarm(SECONDS)
    main(Path(sys.argv[1]))
