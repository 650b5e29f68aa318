"""Runs a training script of others as it is, and times it from one of its own report lines to another.

`python -m rlgen.bench.peers.script FILE FLAG...`: such a script prints `SPS: ...` from time to time, and counts its
steps in `global_step`. There it stands still until a line on stdin says for how many seconds it may go on; what these
took is one JSON line on stdout. So its start is not timed, nor is the time in which others work. It ends with its
stdin.
"""

import io
import json
import os
import runpy
import sys
import time
from typing import NamedTuple, TextIO

REPORT = "SPS:"  # how the lines begin


class Mark(NamedTuple):
    """Where the script is: its steps, and the time that it took."""

    steps: int
    wall: float
    cpu: float  # of all threads

    @classmethod
    def now(cls) -> "Mark":
        """At a report line."""
        return cls(sys.modules["__main__"].global_step, time.perf_counter(), time.process_time())


class Output(io.TextIOBase):
    """What the script prints goes nowhere; at a report line it stands still where its time is over."""

    def __init__(self, words: TextIO) -> None:
        self.words, self.seconds = words, 0.0
        self.begin: Mark | None = None  # of the window that is open
        self.last: Mark | None = None  # the newest report line in it

    def write(self, text: str) -> int:
        if text.startswith(REPORT):
            self.last = Mark.now()
            if self.begin is None or self.last.wall - self.begin.wall >= self.seconds:
                self.answer()
                self.wait()
        return len(text)

    def answer(self) -> None:
        """Say what the window took, up to the last report line; of none yet, that the script is warm."""
        took: list[float] = []
        if self.begin and self.last:
            took = [end - begin for begin, end in zip(self.begin, self.last, strict=True)]
        self.words.write(json.dumps(took) + "\n")
        self.words.flush()

    def wait(self) -> None:
        """Until the next window is asked for."""
        asked = sys.stdin.readline()
        if not asked:
            os._exit(0)  # the other side needs no more
        self.seconds = float(asked)
        self.begin = self.last = Mark.now()


def main(path: str, flags: list[str]) -> None:
    """Run the script to its end, which may be an error: of the window that is open then, what there is counts."""
    words = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints there is no answer
    output = Output(words)
    sys.stdout, sys.argv = output, [path, *flags]
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        if output.begin and output.last and output.last.steps > output.begin.steps:
            output.answer()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
