"""`rlgen bench`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rlgen.options.shares import check_alone


@dataclass(frozen=True)
class Options:
    """Time training on this machine, ours and installed peers' in turn, and show where the time goes."""

    only: str = ""  # works (with --scale: axes) to run: parts of names or globs, with commas
    blocks: int = 5  # measurements of each contender, taken in turn; in [1, 1000]
    seconds: float = 0.4  # of a block; in (0, 600]
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where networks and buffer live
    threads: int = 1  # CPU threads of torch, for every contender; in [1, 1024]
    peers: bool = False  # time installed peer libraries too, and plain PyTorch
    cleanrl: str | None = None  # a checkout of vwxyzjn/cleanrl: time its own dqn.py and ppo.py too
    compiled: bool = False  # rlgen runs machine code, on a CPU; its recorded steps are timed beside it
    against: str | None = None  # a checkout of another version of rlgen: time it too
    profile: bool = False  # split a training step into env, act, insert, sample, update, log and the rest
    scale: bool = False  # cost over the number of environments, batch size, buffer fill and seeds
    health: bool = False  # judge verdicts on runs: train 120, half of which have a planted failure
    out: str | None = None  # with --scale: a .png of the curves
    json: bool = False  # one JSON document on stdout


def run(options: Options) -> Any:
    """The measurements."""
    from rlgen.bench.bench import bench

    check_alone("bench")
    given = asdict(options)
    given.pop("json")
    report = bench(**given, command=shlex.join(["rlgen", *sys.argv[1:]]))
    return report if options.json else report.text()
