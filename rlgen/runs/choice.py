"""Which checkpoint of a run is loaded: the last one that can be used, the best one, or that of a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlgen.errors import CheckpointError, UsageError
from rlgen.runs import checkpoint
from rlgen.text import warn


def load_chosen(
    folder: Path, which: str | int, best: int | None, use: Callable[[dict[str, Any]], None], with_rows: bool = True
) -> Any:
    """The state of a checkpoint: the last one that can be used, the best one, or that of a step.

    Args:
        folder: holds all checkpoints of a run.
        which: `last`, `best` or a step.
        best: step of the best one, if there is one.
        use: called with the state; a CheckpointError from it makes `last` the next older one.
        with_rows: as of `checkpoint.load`.

    Raises:
        CheckpointError: it is not there or cannot be used.
        UsageError: `which` is none of the three, or the run trains on, and removed it meanwhile.
    """
    if which == "last":
        return load_newest(folder, use, with_rows)
    saved = checkpoint.steps(folder)
    if which == "best":
        if best is None:
            raise CheckpointError(f"{folder} has no best checkpoint (not evaluated); use --checkpoint last")
        step = best
    elif str(which).isdecimal():
        step = int(which)
    else:
        raise UsageError(f"--checkpoint {which!r} is not valid: last, best, or a step of {saved}")
    if step not in saved:
        raise CheckpointError(f"{folder} has no checkpoint of step {step}; it has {saved or 'none'}")
    try:
        state = checkpoint.load(folder, step, with_rows)
        use(state)
        return state
    except CheckpointError as error:
        if not checkpoint.directory(folder, step).exists():
            raise _replaced(folder) from error
        raise CheckpointError(f"checkpoint {checkpoint.directory(folder, step)}: {error}") from error


def load_newest(
    folder: Path, use: Callable[[dict[str, Any]], None] | None = None, with_rows: bool = True
) -> dict[str, Any]:
    """Load the newest checkpoint that verifies, naming on stderr each newer one that did not.

    Args:
        folder: holds all checkpoints of a run.
        use: called with the state; a CheckpointError from it is one more reason to take the next older one.
        with_rows: as of `checkpoint.load`.

    Raises:
        CheckpointError: none does.
        UsageError: the run trains on, and removed what was to be read, also when it was looked for again.
    """
    reasons: list[str] = []
    for _ in range(2):  # the run may train on, and put newer ones in the place of those that were found
        found = checkpoint.steps(folder)
        reasons = []
        for step in reversed(found):
            try:
                state = checkpoint.load(folder, step, with_rows)
                if use:
                    use(state)
                return state
            except CheckpointError as error:
                if checkpoint.directory(folder, step).exists():
                    reasons.append(f"{checkpoint.directory(folder, step).name}: {error}")
                    warn(f"skipped checkpoint {checkpoint.directory(folder, step)}: {error}")
        if len(reasons) == len(found):  # none was removed meanwhile
            why = "; ".join(reasons) or "none was saved"
            raise CheckpointError(f"no usable checkpoint in {folder} ({why}); train again from the start")
    raise _replaced(folder)


def _replaced(folder: Path) -> UsageError:
    return UsageError(
        f"checkpoints in {folder} were replaced while they were read, the run trains on; eval or fork again"
    )
