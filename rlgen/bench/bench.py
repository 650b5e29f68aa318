"""What `rlgen bench` does: choose what is timed, time it, and report."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from rlgen.bench.health import NAMES, judge
from rlgen.bench.machine import machine, versions
from rlgen.bench.peers import find
from rlgen.bench.peers.cleanrl import commit
from rlgen.bench.plot import draw
from rlgen.bench.profiling import profile_work
from rlgen.bench.replay import NUM_WARM
from rlgen.bench.report import Report
from rlgen.bench.scaling import SCALES
from rlgen.bench.timing import time_work
from rlgen.bench.works import QUICK, STEPPED, WORKS
from rlgen.errors import UsageError
from rlgen.speed.device import few_collections, pick_device

PROFILED = "dqn-1env,ppo-4env"  # where `only` names nothing


def bench(
    only: str = "",
    blocks: int = 5,
    seconds: float = 0.4,
    device: str = "auto",
    threads: int = 1,
    peers: bool = False,
    cleanrl: str | None = None,
    compiled: bool = False,
    against: str | None = None,
    profile: bool = False,
    scale: bool = False,
    health: bool = False,
    out: str | None = None,
    command: str = "rlgen bench",
) -> Report:
    """Time the works, or with `profile` split their steps into parts, or with `scale` let them grow.

    Args:
        only: names of works, or of axes with `scale`: parts of names or globs, with commas; "" is all.
        blocks: measurements of each contender, taken in turn.
        seconds: of a block; each contender warms up for one more, at least.
        device: auto, cpu or cuda.
        threads: of torch, for every contender.
        peers: time installed peers too.
        cleanrl: a checkout of CleanRL, whose scripts are timed too.
        compiled: rlgen takes compiled gradient steps, on a CPU; with recorded ones it is another contender.
        against: a checkout of another version of rlgen, which is timed too.
        profile: where the time of a step goes.
        scale: cost over the number of environments, batch size, buffer fill and seeds.
        health: judge the verdicts on runs instead: train some that fail and some that do not (`rlgen.bench.health`).
        out: PNG of the scaling.
        command: what the user typed.

    Raises:
        UsageError: `only` names nothing there is, or options do not go together.
        MissingExtraError: CleanRL's scripts import what is not installed.
    """
    if profile + scale + health > 1:
        raise UsageError("--profile, --scale and --health: one at a time")
    beside = {"--cleanrl": cleanrl is not None, "--compiled": compiled, "--against": against is not None}
    if any(beside.values()) and (profile or scale or health):
        flags = ", ".join(flag for flag in beside if beside[flag])
        raise UsageError(f"{flags}: not with --profile or --scale, nor with --health")
    if out is not None and (not scale or Path(out).suffix != ".png" or not Path(out).parent.is_dir()):
        raise UsageError(f"--out {out}: a .png in a directory that exists, with --scale")
    names = list(SCALES) if scale else NAMES if health else STEPPED if profile else list(WORKS)
    chosen = select(only, names) if only or scale or health else select(PROFILED, names) if profile else QUICK
    others = find.chosen(peers, cleanrl, chosen, compiled, against)
    where = {"device": str(pick_device(device)), "threads": threads}
    folders = {"CleanRL": cleanrl, "other version": against}
    report = Report(
        command=command,
        versions=versions() | {name: commit(folder) for name, folder in folders.items() if folder is not None},
        machine=machine() | where,
        method={
            "blocks": blocks,
            "seconds_per_block": seconds,
            "ratio_of": "cpu" if where["device"] == "cpu" else "wall",  # a CPU that waits for a GPU may spin or sleep
            "warm_up": f"one block and an update, or {NUM_WARM:,} transitions in a replay buffer, are not timed",
        },
    )
    if health:
        report["health"] = judge(chosen)
    elif profile:
        report["profile"] = {name: profile_work(name, where, seconds * blocks) for name in chosen}
    elif scale:
        with few_collections():  # as in training
            report["scale"] = [point for axis in chosen for point in SCALES[axis](where, seconds)]
        if out:
            draw(report, out)
    else:
        report |= {"results": [], "not_installed": {}, "skipped": {}}
        set_to = where | {"compile": "always" if compiled else "never"}
        for name in chosen:
            timed = time_work(name, set_to, blocks, seconds, others)
            report["results"] += timed.rows
            report["not_installed"] |= timed.not_installed
            report["skipped"] |= timed.skipped
    return report


def select(only: str, names: list[str]) -> list[str]:
    """The names that a list of names, parts of names or globs stands for, in their own order; "" stands for all.

    Raises:
        UsageError: one of the list stands for none.
    """
    words = [word.strip() for word in only.split(",") if word.strip()]
    chosen: set[str] = set()
    for word in words:
        pattern = word if word in names else f"*{word}*"
        found = {name for name in names if fnmatch(name, pattern)}
        if not found:
            raise UsageError(f"--only {word}: matches none of {', '.join(names)}")
        chosen |= found
    return [name for name in names if name in chosen or not words]
