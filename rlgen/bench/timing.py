"""Times everything that can do a work, in turn and in one process."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from rlgen.bench.measure import Block, Costs, show_progress, spread
from rlgen.bench.ours import OURS
from rlgen.bench.peers.find import Peer, find
from rlgen.bench.works import WORKS, configure
from rlgen.speed.device import few_collections

OURSELVES = "rlgen"
SLOW_KINDS, SLOW_BLOCKS = ("start", "memory", "run"), 3  # seconds each, however long a block is: at most so many


@dataclass
class Timed:
    """What was measured of one work."""

    rows: list[dict[str, Any]]  # one a contender, ours first
    not_installed: dict[str, str]  # peers, and how to install them
    skipped: dict[str, str]  # "work: peer", and why it was left out


def time_work(name: str, set_to: dict[str, Any], blocks: int, seconds: float, peers: dict[str, Peer]) -> Timed:
    """Time all contenders of a work, block by block.

    Args:
        name: of the work.
        set_to: device, threads and whether steps are compiled.
        blocks: measurements of each contender.
        seconds: of a block.
        peers: others that are timed, too, where they do the work.
    """
    work, config = WORKS[name], configure(name, **set_to)
    if work.kind in SLOW_KINDS:
        blocks = min(blocks, SLOW_BLOCKS)
    with ExitStack() as stack:
        contenders = {OURSELVES: OURS[work.kind](config, work, stack)}
        found = find(name, config, work, stack, peers)
        contenders |= found.blocks
        stack.enter_context(few_collections())  # as in training; for all of them
        costs, failed = take_turns(name, contenders, config["threads"], blocks, seconds)
    rows = [row(name, contender, taken, costs[OURSELVES]) for contender, taken in costs.items()]
    skipped = {f"{name}: {peer}": why for peer, why in (found.failed | failed).items()}
    return Timed(rows, found.not_installed, skipped)


def take_turns(
    name: str, contenders: dict[str, Block], threads: int, blocks: int, seconds: float
) -> tuple[dict[str, list[Costs]], dict[str, str]]:
    """Run a block of each contender, again and again; the first block of each is warm-up and does not count.

    Returns:
        The costs of every block by contender, and why others failed. A failure of ours is raised.
    """
    costs: dict[str, list[Costs]] = {contender: [] for contender in contenders}
    failed: dict[str, str] = {}
    for number in range(blocks + 1):
        for contender, block in contenders.items():
            if contender in failed:
                continue
            show_progress(f"{name} {contender} {max(number, 1)}/{blocks}")
            torch.set_num_threads(threads)
            try:
                cost = block(seconds)
            except Exception as error:
                if contender == OURSELVES:
                    raise
                failed[contender] = f"{type(error).__name__}: {error}"
                continue
            if number > 0:
                costs[contender].append(cost)
    return {contender: taken for contender, taken in costs.items() if contender not in failed}, failed


def row(name: str, contender: str, costs: list[Costs], own: list[Costs]) -> dict[str, Any]:
    """What the report says of one contender: its costs by unit, and how many times ours of the same block they are.

    Both twice: `measures` and `ratio` are of time on the clock (or of bytes), `cpu` and `cpu_ratio` of CPU time.
    """
    clock, cpu = by_unit(costs, "value"), by_unit(costs, "cpu")
    against: list[Costs] = own if contender != OURSELVES else []
    return {
        "work": name,
        "command": f"rlgen train {WORKS[name].command}",
        "contender": contender,
        "measures": {unit: spread(values) for unit, values in clock.items()},
        "cpu": {unit: spread(values) for unit, values in cpu.items()},
        "ratio": ratios(clock, by_unit(against, "value")),
        "cpu_ratio": ratios(cpu, by_unit(against, "cpu")),
    }


def by_unit(costs: list[Costs], field: str) -> dict[str, list[float]]:
    """One field of the costs of each block, by unit, where every block has it."""
    found = {unit: [getattr(block[unit], field) for block in costs if unit in block] for unit in (costs or [{}])[0]}
    return {unit: values for unit, values in found.items() if len(values) == len(costs) and None not in values}


def ratios(costs: dict[str, list[float]], own: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """How many times ours of the same block they are, by unit."""
    shared = [unit for unit in costs if unit in own]
    return {unit: spread([cost / ours for cost, ours in zip(costs[unit], own[unit], strict=True)]) for unit in shared}
