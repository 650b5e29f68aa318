"""`rlgen diff RUN RUN`."""

from __future__ import annotations

from dataclasses import dataclass

from rlgen.text import Rows


@dataclass(frozen=True)
class Options:
    """Show what differs between two runs: configuration, versions, machine."""

    run: tuple[str, ...] = ()  # two names, directories, unique prefixes, or last
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> Rows:
    """A row for everything that differs."""
    from rlgen.runs.show import diff

    return diff(options.run, options.runs_dir)
