"""Checkpoints: atomic directories, `step_000050000/{state.pt, manifest.json}`, that are verified before they are used.

Written in a temporary directory, files first, the manifest with their sha256 last, everything fsynced, then renamed:
what has the final name is whole. `torch.load` checks no checksum of its own, so the manifest's are checked here.
State is tensors and plain Python, loaded with `weights_only=True`: nothing is unpickled into code.

When the content of state.pt changes, FORMAT is raised, and `old_states.py` converts what was saved before.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

from rlgen.errors import CheckpointError, DamagedError, DiskError, is_out_of_memory
from rlgen.files import TEMPORARY, WholeWrites, disk_error, fsync, made, writing
from rlgen.runs import segments
from rlgen.runs.diverged import not_finite
from rlgen.runs.files import digest, open_file, remove, remove_stale, write_json
from rlgen.runs.old_states import converted, with_tensors
from rlgen.runs.records import Manifest, Versioned, read

FORMAT, WITH_SEGMENTS = 4, 5  # of state.pt; the latter of one whose ring lies in segments
LARGE = 2**25  # bytes: a buffer in a larger file stays there until its owner copies it
BEFORE = "-before-"  # in the name of what was saved of a step, while it is saved again
NAME = re.compile("step_([0-9]{9}|[1-9][0-9]{9,15})")  # of a directory


def directory(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` is or would be; the zeros make names sort as numbers do."""
    return folder / f"step_{step:09d}"


def steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint, oldest first; whether they can be used is only known by loading."""
    names = (path.name for path in folder.glob("step_*") if path.is_dir() and NAME.fullmatch(path.name))
    return sorted(int(name[5:]) for name in names)


def save(
    folder: Path,
    step: int,
    state: dict[str, Any],
    about: dict[str, Any] | None = None,
    blocks: segments.Segments | None = None,
) -> Path:
    """Write a checkpoint so that a crash, a signal or a full disk at any moment leaves the earlier ones as they were.

    Args:
        folder: holds all checkpoints of a run; made if missing, in a directory that is there.
        step: names the checkpoint; one that is already there is replaced.
        state: tensors and plain Python. A large ring in it goes to segments, which are written first.
        about: goes into the manifest for people to read.
        blocks: what is known of the ring's segments; None is nothing.

    Raises:
        DiskError: it could not be written; nothing of it is left.
    """
    import torch

    final = directory(folder, step)
    temporary = folder / f"{TEMPORARY}{final.name}-{os.getpid()}"
    before = folder / f"{TEMPORARY}{final.name}{BEFORE}{os.getpid()}"
    try:
        made(folder)  # but not the one above it, which may have been moved
        temporary.mkdir()
        buffer, sizes = (blocks or segments.Segments()).stored(folder / segments.FOLDER, state.get("buffer"))
        own = WITH_SEGMENTS if sizes else FORMAT
        state = state | {"buffer": buffer} if buffer else state
        state = state | {"format": own} if sizes else state
        with WholeWrites(temporary / "state.pt", "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError:
                if file.refused:  # its zip writer raises over it
                    raise file.refused from None
                raise
        manifest = {
            "format": own,
            "step": step,
            **(about or {}),
            "files": {"state.pt": digest(temporary / "state.pt")},
        } | ({"segments": sizes} if sizes else {})
        fsync(temporary / "state.pt")
        write_json(temporary / "manifest.json", manifest)
        if os.path.lexists(final):
            os.rename(final, before)  # and not removed: killed here, `tidy` puts it back
        os.rename(temporary, final)
        remove(before)
        fsync(folder)
    except BaseException as error:  # a second Ctrl-C too must not leave gigabytes behind
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError, DiskError):
            put_back(folder)
            collect(folder)
        if refused := disk_error(error):
            reason = refused.strerror or str(refused).split("\n")[0]
            kept = f"step {last[-1]} is intact" if (last := steps(folder)) else "none was saved before"
            raise DiskError(f"cannot write checkpoint {final}: {reason} ({kept}); free space") from error
        raise
    return final


def owned(state: dict[str, Any]) -> dict[str, Any]:
    """The state with copies of tensors that are parts of larger ones, which `torch.save` would write whole."""
    return {
        name: value.clone() if hasattr(value, "nbytes") and value.untyped_storage().nbytes() > value.nbytes else value
        for name, value in state.items()
    }


def verified(path: Path, with_segments: bool = False, with_rows: bool = True) -> Manifest:
    """The manifest of a checkpoint, after checking format, size and sha256.

    Args:
        path: of the checkpoint.
        with_segments: check the sha256 of its segments too; without it, whether they are there with their size.
        with_rows: without it, not even that.

    Raises:
        CheckpointError: it cannot be used.
        DamagedError: its manifest is damaged.
        OSError: a file of it cannot be read.
    """
    version = read(path / "manifest.json", Versioned)
    if version and version["format"] not in range(1, WITH_SEGMENTS + 1):
        raise CheckpointError(f"its format is {version['format']}, this version of rlgen reads up to {WITH_SEGMENTS}")
    manifest = read(path / "manifest.json", Manifest)
    if manifest is None:
        raise CheckpointError("manifest.json is missing")
    expected = manifest["files"]["state.pt"]
    with open_file(path / "state.pt") as file:  # the size first: a file may be too large to be read in a lifetime
        size = os.fstat(file.fileno()).st_size
    if size != expected["size"]:
        raise CheckpointError(f"state.pt has {size} bytes, its manifest says {expected['size']}")
    if digest(path / "state.pt")["sha256"] != expected["sha256"]:
        raise CheckpointError("state.pt does not match the sha256 in its manifest")
    sizes = manifest.get("segments", {})
    if with_rows:
        segments.check_sizes(path.parent / segments.FOLDER, sizes)
    for name in sizes if with_segments else ():
        segments.check(path.parent / segments.FOLDER, name)
    return manifest


def load(folder: Path, step: int, with_rows: bool = True) -> dict[str, Any]:
    """Load one checkpoint to the CPU, after checking format, size and sha256.

    To the CPU, because each owner copies its part to where it belongs: a buffer never is in GPU memory twice, and a
    checkpoint from a GPU serves a machine without one. A large buffer stays in the file, mapped into memory: it would
    be in memory twice. Whoever overwrites the file meanwhile ends the process; we replace files, and do not.

    Args:
        folder: holds all checkpoints of a run.
        step: of the one.
        with_rows: without it the rows of a ring in segments are not to be read, and need not be there.

    Raises:
        CheckpointError: it cannot be used; the message is the reason alone.
    """
    import torch

    path = directory(folder, step)
    try:
        manifest = verified(path, with_rows=with_rows)
        size = manifest["files"]["state.pt"]["size"]
        state = torch.load(path / "state.pt", map_location="cpu", weights_only=True, mmap=size > LARGE)
        if not isinstance(state, dict) or state.get("step") != step or manifest["step"] != step:
            raise CheckpointError(f"it does not hold the state of step {step}")
        if (own := state.get("format", manifest["format"])) != manifest["format"]:
            raise CheckpointError(f"its manifest says format {manifest['format']}, its state {own}")
        if manifest["format"] == 1:
            state = converted(state)
        if manifest["format"] < FORMAT:
            state = with_tensors(state)
        if manifest["format"] == WITH_SEGMENTS and with_rows:
            sizes = manifest.get("segments", {})
            state = state | {"buffer": segments.opened(folder / segments.FOLDER, state["buffer"], sizes)}
        state = {name: value if name == "buffer" else copy.deepcopy(value) for name, value in state.items()}
        if name := not_finite(state.get("learner")):
            raise CheckpointError(f"it is of a run that had diverged: {name} is not a number")
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{Path(error.filename).name} is missing") from error
    except DamagedError as error:
        raise CheckpointError(f"its manifest is damaged: {error.reason}") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "it cannot be read: it is damaged, or holds code or objects that are no tensors, which are never loaded"
        ) from error
    except Exception as error:  # damage ends torch.load with errors of many types
        if is_out_of_memory(error):
            raise  # it may be as good as any: an older one in its place would cost what was learned since
        reason = str(error).strip().split("\n")[0].removesuffix(".")[:160]
        raise CheckpointError(f"it cannot be read: {type(error).__name__}: {reason}") from error
    return state


def tidy(folder: Path) -> None:
    """Put away what a killed process left half-way. Only under the run's lock.

    Raises:
        DiskError: something cannot be removed.
    """
    with writing(folder):
        put_back(folder)
    remove_stale(folder)
    collect(folder)


def put_back(folder: Path) -> None:
    """Give a checkpoint its name again that was to be replaced, and was not."""
    for path in folder.glob(f"{TEMPORARY}step_*{BEFORE}*"):
        final = path.with_name(path.name.removeprefix(TEMPORARY).partition(BEFORE)[0])
        if NAME.fullmatch(final.name) and not os.path.lexists(final):
            os.rename(path, final)


def collect(folder: Path) -> None:
    """Remove the segments that no checkpoint names. Only under the run's lock.

    As long as a manifest cannot be read or is another version's, it may name any, so they all stay.

    Raises:
        DiskError: one cannot be removed.
    """
    if (folder / segments.FOLDER).is_dir():
        segments.collect(folder / segments.FOLDER, _named(folder))


def _named(folder: Path) -> set[str] | None:
    """The segments that checkpoints name; None where one does not say."""
    named: set[str] = set()
    for step in steps(folder):
        try:
            manifest = read(directory(folder, step) / "manifest.json", Manifest)
        except DamagedError:
            return None
        if manifest and manifest["format"] > WITH_SEGMENTS:
            return None
        named.update(manifest.get("segments", {}) if manifest else ())
    return named


def segments_of(path: Path) -> dict[str, int]:
    """Size by name of the segments of a checkpoint; none where its manifest does not say."""
    try:
        manifest = read(path / "manifest.json", Manifest)
    except DamagedError:
        return {}
    found = manifest.get("segments", {}) if manifest else {}
    return {name: size for name, size in found.items() if segments.NAME.fullmatch(name)}


def discard(path: Path) -> None:
    """Remove a checkpoint: renamed first, so that a half-removed one is not taken for a damaged one."""
    if os.path.lexists(path):
        gone = path.with_name(f"{TEMPORARY}{path.name}-gone-{os.getpid()}")
        os.rename(path, gone)
        remove(gone)
