"""A contender in a process of its own, which works only while it is asked to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Worker:
    """A process that gets a number of seconds on a line of stdin, and answers each with a line of JSON on stdout.

    Args:
        argv: after the interpreter.
        roots: directories in which it looks for modules first.
        threads: of its libraries.
        folder: where it runs, and leaves its own logs.
    """

    def __init__(self, argv: list[str], roots: list[Path], threads: int, folder: str) -> None:
        self.argv, self.errors = argv, Path(folder, "stderr.txt")
        path = os.pathsep.join([*map(str, roots), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environ = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.environ["PYTHONPATH"] = path
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it anew."""
        self.close()
        pipe = subprocess.PIPE
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *self.argv],
                stdin=pipe,
                stdout=pipe,
                stderr=errors,
                text=True,
                cwd=self.errors.parent,
                env=self.environ,
            )

    def read(self) -> Any:
        """Its answer; None where it has ended."""
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def ask(self, seconds: float) -> Any:
        """Let it work for so long; returns its answer, or None where it has ended."""
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        return self.read()

    def last_words(self) -> str:
        """The last line of its stderr."""
        return (self.errors.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
