"""Rows of metrics.jsonl: one JSON object a line, strict JSON, read while they are still being written.

NaN and infinities are the strings "NaN", "Infinity" and "-Infinity", so that every JSON parser reads every line.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from rlgen.errors import DamagedError
from rlgen.files import copy_file, open_file, replaced

HEALTH = "health"  # the verdict on the run so far: a text, which is no metric; other names begin with it
WEIGHTS = "weights"  # the digest that a checkpoint leaves; a row of its own, which is none of metrics
MAX_LINE = 2**22  # bytes; a row has some thousands at most, so what is longer is damage and never read whole
MAX_STEP = 2**53  # what a float holds exactly
TAIL = 2**16  # bytes that are read to find the last row
CUT_ROW = re.compile(rb"\{[^\x00-\x1f]*")  # what a killed process may leave at the end, with no newline
NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def read_metrics(path: str | Path) -> Iterator[dict[str, Any]]:
    """Rows of a run's metrics.jsonl, one at a time; "NaN" and "Infinity" come back as floats, other texts do not.

    A torn last line, left by a killed process, is skipped, and so are rows without metrics, as checkpoints leave.

    Args:
        path: the run's directory, or the file.

    Raises:
        UsageError: a line is damaged, or the file cannot be read.
    """
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    try:
        with open_file(path) as file:
            for number, line in enumerate(lines(file), 1):
                row = parse(line)
                if row is not None:
                    if not row.keys() <= {"step", "time"}:
                        yield row
                elif not torn(line):
                    raise DamagedError(f"{path} line {number}", f"it is no row of metrics: {line[:40]!r}")
    except FileNotFoundError:
        return
    except OSError as error:
        raise DamagedError(path, f"{error.strerror or error}") from error


def digests(path: Path) -> dict[int, str]:
    """The digests of weights that checkpoints left in a run's metrics.jsonl, by step."""
    found: dict[int, str] = {}
    file = path / "metrics.jsonl"
    if file.exists():
        with open_file(file) as opened:
            for line in lines(opened):
                if b'"weights"' in line and parse(line) and WEIGHTS in (row := json.loads(line)):
                    found[row["step"]] = str(row[WEIGHTS])
    return found


def lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one that is longer than `MAX_LINE` the beginning, with a newline of its own."""
    while line := file.readline(MAX_LINE):
        cut = len(line) == MAX_LINE and not line.endswith(b"\n")
        while cut and (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
            pass
        yield line[:80] + b"\n" if cut else line


def torn(line: bytes) -> bool:
    """Whether it is the last line of a file that a killed process left half-written."""
    return not line.endswith(b"\n")


def parse(line: bytes) -> dict[str, Any] | None:
    """The row in a line: its numbers by name. None where the line is torn or holds no row."""
    try:
        row = json.loads(line)
        if torn(line) or not isinstance(row, dict) or not _is_step(row.get("step")):
            return None
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        numbers = {name: value for name, value in row.items() if name not in texts}
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in numbers.values()):
            return None
        if not all(map(str.isprintable, row)):  # a name could move the cursor, or end a line
            return None
        for value in numbers.values():
            float(value)  # an integer may be beyond every float
    except (ValueError, RecursionError, OverflowError):
        return None
    return numbers | {name: float(value) for name, value in texts.items() if value in NOT_FINITE}


def texts(line: bytes) -> dict[str, str]:
    """The texts of the row in a line, by name; empty where it holds no row."""
    if parse(line) is None:
        return {}
    return {name: value for name, value in json.loads(line).items() if isinstance(value, str)}


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_STEP


def strict(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become strings, which `float` and JavaScript's `Number` read."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def last_step(path: Path) -> int:
    """Step of the last whole row of a metrics.jsonl; 0 without one."""
    return last_row(path).get("step", 0)


def last_row(path: Path) -> dict[str, Any]:
    """The last whole row of a metrics.jsonl, from the end of the file alone; empty where there is none.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        with open_file(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            found = [row for line in file.readlines()[-3:] if (row := parse(line))]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DamagedError(path, f"{error.strerror or error}") from error
    return found[-1] if found else {}


def last_evaluation(path: Path) -> dict[str, Any]:
    """The last whole row of a metrics.jsonl that holds an evaluation, found from its end; empty where there is none.

    Raises:
        DamagedError: the file cannot be read.
    """
    try:
        with open_file(path) as file:
            if file.seek(0, os.SEEK_END) == 0:
                return {}
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                end = text.rfind(b"\n") + 1
                while (hit := text.rfind(b'"eval/', 0, end)) >= 0:
                    start, stop = text.rfind(b"\n", 0, hit) + 1, text.find(b"\n", hit) + 1
                    row = parse(text[start:stop]) if stop - start <= MAX_LINE else None
                    if row and any(name.startswith("eval/") for name in row):
                        return row
                    end = start
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DamagedError(path, f"{error.strerror or error}") from error
    return {}


def truncate(path: Path, step: int, eval_due: bool = False) -> Path | None:
    """Cut the rows past `step` and a torn last line, which a resumed run writes again; nothing else gets lost.

    Where a line is damaged, or the steps go backwards, the file as it was is kept beside the new one.

    Args:
        path: of metrics.jsonl.
        step: of the last rows to keep.
        eval_due: the evaluation of `step` is still to come, so that a row of it goes too.

    Returns:
        Where a damaged file is kept; None if there was no damage.

    Raises:
        DamagedError: it cannot be read.
        DiskError: it could not be written; the file is as it was.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(path, f"{error.strerror or error}") from error
    found, dropped, beyond, damaged = [], False, False, False  # found: (step, first byte, bytes)
    with file:
        begin = 0
        for line in lines(file):
            end, ended = file.tell(), not torn(line)
            row = parse(line if ended else line + b"\n")  # only its newline may be missing
            if row is None:
                dropped, damaged = True, damaged or ended or not CUT_ROW.fullmatch(line)
            elif row["step"] > step:
                dropped = beyond = True
            elif eval_due and row["step"] == step and any(name.startswith("eval/") for name in row):
                dropped = True
            else:
                damaged = damaged or beyond  # one before it is of a later step
                dropped = dropped or not ended
                found.append((row["step"], begin, end - begin))
            begin = end
        kept = [found[index] for index in in_order([step for step, _, _ in found])]
        if not dropped and len(kept) == len(found):
            return None
        aside = _keep_aside(path) if damaged or len(kept) < len(found) else None
        with replaced(path) as temporary, open(temporary, "wb") as new:
            for _, first, size in kept:
                file.seek(first)
                new.write(file.read(size).rstrip(b"\n") + b"\n")
    return aside


def in_order(values: Sequence[int]) -> list[int]:
    """Indices of a longest subsequence that does not fall: what a single wrong value costs is itself alone."""
    tails: list[int] = []  # the smallest last value of a subsequence of each length, and where it is
    places: list[int] = []
    before: list[int] = []
    for index, value in enumerate(values):
        length = bisect_right(tails, value)
        if length == len(tails):
            tails.append(value)
            places.append(index)
        else:
            tails[length], places[length] = value, index
        before.append(places[length - 1] if length else -1)
    found, index = [], places[-1] if places else -1
    while index >= 0:
        found.append(index)
        index = before[index]
    return found[::-1]


def _keep_aside(path: Path) -> Path:
    """Give the file a second name, metrics.damaged-1.jsonl or the next one that is free."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")):
        number += 1
    with replaced(aside) as temporary:
        copy_file(path, temporary)
    return aside
