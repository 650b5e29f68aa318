"""Recorded operations as machine code: compiled by torch's AOTInductor, kept in the user's cache, loaded from there.

A compilation takes 10 s or more and imports much, so it has a process of its own. The key of a package is a hash of all
that it depends on: the operations, the sizes of their tensors, torch, the processor, the threads. What is loaded is
code: the folder and its files have to be the user's own, closed to others, and as their checksums say.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlgen.errors import DiskError, one_line
from rlgen.files import user_cache

FORMAT = 1  # of the packages: raise it where they are made otherwise
WAIT = 300.0  # seconds that a run waits for a compilation
LOOK = 0.2  # seconds between two looks whether it is still to wait
RETRIED = 86_400.0  # seconds after which one that failed is tried again
STALE = 3600.0  # seconds after which a folder of a compilation was left behind
INDUCTOR = "inductor"  # folder of what is made for a GPU, beside the packages
RANDOM = re.compile(r"\.(rand|randn|randint|randperm|bernoulli|normal|uniform|dropout|multinomial)\w*\.")

Function = Callable[..., Sequence[Tensor]]
_ask: list[Callable[[], object]] = []  # what it raises ends a compilation that a run waits for
_aside: list[subprocess.Popen[bytes]] = []  # that are not waited for


class CannotCompileError(Exception):
    """Why something does not become machine code."""


@contextlib.contextmanager
def asking(ask: Callable[[], object]) -> Iterator[None]:
    """Ask all the time that a compilation is waited for; what `ask` raises ends it."""
    _ask.append(ask)
    try:
        yield
    finally:
        _ask.remove(ask)


def folder() -> Path:
    """Where packages are kept: $RLGEN_COMPILED, else in the user's cache; made if it is missing.

    Raises:
        CannotCompileError: there is no compiler or no place; or it is not safe to load code from there.
    """
    if sys.platform != "linux":
        raise CannotCompileError("it works on Linux alone")
    if compiler() is None:
        raise CannotCompileError("there is no C++ compiler (g++, or what $CXX says)")
    given = os.environ.get("RLGEN_COMPILED")
    if given == "":
        raise CannotCompileError("RLGEN_COMPILED is empty")
    try:
        path = Path(given) if given else user_cache() / "compiled"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise CannotCompileError(f"{path} has to be a folder of your own, closed to others (mode 700)")
    except (OSError, DiskError) as error:  # DiskError: there is no home
        raise CannotCompileError(f"no folder for compiled code: {error}") from None
    return path


def compiler() -> str | None:
    """The path of the C++ compiler that torch would use."""
    named = [name] if (name := os.environ.get("CXX")) else ["g++", "clang++"]
    return next((path for name in named if (path := shutil.which(name))), None)


@cache
def machine() -> str:
    """What machine code depends on beside the program: versions, and what the processor can do."""
    flags = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        flags = "".join(re.findall(r"^(?:flags|Features|model name)\s*:.*$", text.partition("\n\n")[0], re.MULTILINE))
    versions = [FORMAT, torch.__version__, torch.version.git_version, platform.python_version(), compiler()]
    return "\n".join(map(str, [*versions, platform.machine(), torch.backends.cpu.get_cpu_capability(), flags]))


def hashed(*parts: object) -> str:
    """A name for all of them together, and this machine."""
    return hashlib.sha256("\n".join([machine(), *map(str, parts)]).encode()).hexdigest()[:32]


class Program:
    """A list of operations, of tensors of fixed sizes.

    Args:
        recorded: what `make_fx` wrote down.
        tensors: that it was recorded with; dense.
        work: hash of what is trained, whose programs are counted together.

    Raises:
        CannotCompileError: it cannot be compiled.
    """

    def __init__(self, recorded: Any, tensors: Sequence[Tensor], work: str) -> None:
        if any(True for _ in recorded.buffers()) or any(True for _ in recorded.parameters()):
            raise CannotCompileError("it holds tensors that are no inputs")
        if RANDOM.search(recorded.code):
            raise CannotCompileError("it draws random numbers")
        inputs = [(list(each.shape), list(each.stride()), str(each.dtype).partition(".")[2]) for each in tensors]
        self.work, self.folder = work, folder()
        self.description = {
            "text": recorded.code,
            "inputs": inputs,
            "threads": torch.get_num_threads(),
            "work": work,
        }
        self.key = hashed(*[self.description[name] for name in ("text", "inputs", "threads")])

    def load(self) -> Function | None:
        """The machine code; None where it is not in the cache.

        Raises:
            CannotCompileError: torch does not take it.
        """
        package, manifest = (self.folder / f"{self.key}{suffix}" for suffix in (".pt2", ".json"))
        if not self.is_there():  # the package may be: its manifest comes last
            return None
        try:
            for path in (package, manifest):
                found = path.lstat()
                if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                    raise CannotCompileError(f"{path} has to be a file of your own, closed to others")
            said = json.loads(manifest.read_bytes())
            if hashlib.sha256(package.read_bytes()).hexdigest() != said["sha256"]:
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError):  # damaged: as good as not there
            for path in (manifest, package):
                with contextlib.suppress(OSError):
                    path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(package)  # those that were used last are kept
        try:
            loader = torch._C._aoti.AOTIModelPackageLoader(str(package), "model", False, 1, -1)
        except Exception as error:
            raise CannotCompileError(f"torch {torch.__version__} does not load it: {one_line(error)}") from error
        return lambda *tensors: loader.run(list(tensors))

    def compile(self) -> None:
        """Compile it into the cache, in a process that is waited for.

        Raises:
            CannotCompileError: it failed, or took too long.
        """
        until = time.monotonic() + WAIT
        process = self._start(nice=0, errors=subprocess.PIPE)
        try:
            while process.poll() is None:
                for ask in _ask:
                    ask()
                if time.monotonic() > until:
                    raise CannotCompileError(f"the compiler took more than {WAIT:g} s")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=LOOK)
            _, errors = process.communicate()
        except BaseException as error:  # Ctrl-C too
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            shutil.rmtree(str(process.args[-1]), ignore_errors=True)  # type: ignore[index]
            if not isinstance(error, CannotCompileError):  # it did not fail: the next run may try
                (self.folder / f"{self.key}.failed").unlink(missing_ok=True)
            raise
        if process.returncode:
            lines = errors.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
            raise CannotCompileError(f"the compiler failed: {lines[-1][:150]}")

    def compile_aside(self) -> None:
        """Have it compiled for runs to come, by a process of low priority that may outlive this one."""
        failed = self.folder / f"{self.key}.failed"
        if self.is_there():
            note_work(self.folder, self.work, self.key)
        elif not failed.exists() or time.time() - failed.stat().st_mtime > RETRIED:
            _aside.append(self._start(nice=15, errors=subprocess.DEVNULL))

    def is_there(self) -> bool:
        """Whether the cache has it."""
        return (self.folder / f"{self.key}.json").exists()

    def _start(self, nice: int, errors: int) -> subprocess.Popen[bytes]:
        for old in self.folder.glob("compiling-*"):
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > STALE:
                    shutil.rmtree(old)
        place = None
        try:
            place = Path(tempfile.mkdtemp(prefix=f"compiling-{self.key}-", dir=self.folder))
            (place / "program.json").write_text(json.dumps(self.description | {"nice": nice}))
            return subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("compile_program.py")), str(place)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
                start_new_session=True,  # Ctrl-C in the terminal is the run's
            )
        except OSError as error:
            if place:
                shutil.rmtree(place, ignore_errors=True)
            raise CannotCompileError(f"no process to compile it: {error.strerror or error}") from None


def note_work(place: Path, work: str, key: str) -> None:
    """Note that a work needs a program."""
    path = place / f"{work}.work"
    with contextlib.suppress(OSError):
        if not path.exists() or key not in path.read_text().split():
            with open(path, "a") as file:
                file.write(f"{key}\n")


def is_filled(work: str) -> bool:
    """Whether the cache has the programs that earlier runs of this work needed.

    Raises:
        CannotCompileError: as `folder`.
    """
    place = folder()
    try:
        keys = (place / f"{work}.work").read_text().split()
    except OSError:
        return False
    return bool(keys) and all((place / f"{key}.json").exists() for key in keys)


def note_fused(work: str) -> None:
    """Note that the kernels of a work on a GPU are kept."""
    with contextlib.suppress(OSError, CannotCompileError):
        (folder() / f"{work}.fused").touch()


def was_fused(work: str) -> bool:
    """Whether the kernels that a work on a GPU needs were made before.

    Raises:
        CannotCompileError: as `folder`.
    """
    return (folder() / f"{work}.fused").exists()


def size(place: Path) -> int:
    """Bytes that the packages take."""
    paths = [*place.glob("*.pt2"), *(path for path in (place / INDUCTOR).rglob("*") if path.is_file())]
    return sum(path.stat().st_size for path in paths)


def clear(place: Path) -> None:
    """Remove all packages, and what was noted of them."""
    for pattern in ("*.json", "*.pt2", "*.work", "*.fused", "*.failed"):
        for path in place.glob(pattern):
            path.unlink(missing_ok=True)
    shutil.rmtree(place / INDUCTOR, ignore_errors=True)
