"""How many seeds are enough: a group-sequential permutation test of several groups of scores.

AdaStop (Mathieu et al. 2023, "AdaStop: adaptive statistical testing for sound comparisons of Deep RL agents",
arXiv 2306.10882). Scores come in blocks, a block of seeds of every group. After each block there is a look at the data:
a pair of groups whose means differ too much for chance is decided, and the others go on. The chance of any false
decision, over all pairs and all looks, is at most `level`.

With two groups this is AdaStop's algorithm 1. With more, AdaStop permutes each pair on its own, which is not how equal
groups are distributed: of three equal ones, 6 % are told apart at a level of 5 %. So here every way in which groups may
be equal is tested, by permuting what it calls equal, and a pair is decided once all that make it equal are rejected
(closed testing, Marcus et al. 1976). The one that is true is rejected with a chance of at most `level`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

BLOCK = 5  # seeds of a group between two looks
LOOKS = 5  # so a group needs at most 25 seeds
LEVEL = 0.05  # chance of any false decision
MOST_GROUPS = 7  # may be equal in 877 ways; one more makes it 4,140
REPEATS = 40  # how often each way of splitting two blocks into halves is drawn
UNITS = 2.0**48  # from the lowest score to the highest: whole numbers, whose sums are exact in any order

Cell = tuple[str, ...]  # groups that are called equal


class Decision(NamedTuple):
    """What is known of two groups: `verdict` is "larger" (x has the larger mean), "smaller", "equal" or "open"."""

    x: str
    y: str
    verdict: str
    look: int  # the one that decided; the last one that was taken if open; 0: none yet


@dataclass
class Hypothesis:
    """A way in which groups may be equal, and the permutations that no look so far would have rejected it for."""

    cells: tuple[Cell, ...]
    alive: np.ndarray = field(default_factory=lambda: np.ones(1, dtype=bool))
    spent: float = 0.0

    def is_rejected(self, ranges: Mapping[Cell, np.ndarray], level: float) -> bool:
        """Whether the largest difference within a cell is too large; the first permutation is what was observed.

        Args:
            ranges: of each cell, the largest difference of its sums: [P].
            level: what may be spent up to this look.
        """
        largest = np.max([ranges[cell] for cell in self.cells], axis=0)
        alive = np.broadcast_to(self.alive, len(largest))
        bound, cost = _boundary(largest, alive, level - self.spent)
        self.alive, self.spent = alive & (largest <= bound), self.spent + cost
        return not self.alive[0]


def decide(
    groups: Mapping[str, Sequence[float] | np.ndarray],
    block: int = BLOCK,
    looks: int = LOOKS,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Decision]:
    """Decide every pair of groups as far as the scores reach.

    "equal" means that no difference was found in all looks. A look needs a whole block of every group that is in an
    open pair; what lies beyond the last whole block is not used.

    Args:
        groups: scores by group, [runs] each, in the order of their seeds; at most `MOST_GROUPS` groups.
        block: runs of each group between two looks.
        looks: how many there are at most.
        level: chance of any false decision, over all pairs and looks.
        seed: of the permutations.
    """
    if len(groups) > MOST_GROUPS:
        raise ValueError(f"{len(groups)} groups, at most {MOST_GROUPS} are decided together")
    scores = _whole(groups)
    decided: dict[Cell, Decision] = {}
    pairs = [*combinations(scores, 2)]
    hypotheses = [Hypothesis(cells) for cells in _partitions(tuple(scores)) if cells]
    sums: dict[Cell, np.ndarray] = {}  # of each group of a cell over all blocks: [groups, P]
    look = 0
    while hypotheses and look < looks:
        cells = {cell for hypothesis in hypotheses for cell in hypothesis.cells}
        if any(len(scores[name]) < block * (look + 1) for name in set().union(*cells)):
            break
        for cell in cells:
            together = np.concatenate([scores[name][look * block : (look + 1) * block] for name in cell])
            sums[cell] = sums.get(cell, 0.0) + _dealt(len(cell), block, look, seed) @ together
        ranges = {cell: sums[cell].max(0) - sums[cell].min(0) for cell in cells}
        look += 1
        hypotheses = [each for each in hypotheses if not each.is_rejected(ranges, level * look / looks)]
        still_open = {pair for each in hypotheses for cell in each.cells for pair in combinations(cell, 2)}
        for pair in pairs:
            if pair not in decided and pair not in still_open:
                x, y = sums[pair][:, 0]
                decided[pair] = Decision(*pair, "larger" if x > y else "smaller", look)
    rest = "equal" if look == looks else "open"
    return [decided.get(pair) or Decision(*pair, rest, look) for pair in pairs]


def _whole(groups: Mapping[str, Sequence[float] | np.ndarray]) -> dict[str, np.ndarray]:
    """The scores as whole numbers, `UNITS` from the lowest to the highest."""
    scores = {name: np.asarray(values, dtype=np.float64) for name, values in groups.items()}
    every = np.concatenate([*scores.values()]) if scores else np.empty(0)
    low, high = (every.min(), every.max()) if len(every) else (0.0, 0.0)
    return {name: np.rint((values - low) / (high - low or 1.0) * UNITS) for name, values in scores.items()}


def _partitions(names: Cell) -> Iterator[tuple[Cell, ...]]:
    """Every way in which groups may be equal: those of its cells that hold two or more."""
    if not names:
        yield ()
        return
    first, *rest = names
    for size in range(len(names)):
        for others in combinations(rest, size):
            left = tuple(name for name in rest if name not in others)
            for cells in _partitions(left):
                yield ((first, *others), *cells) if others else cells


@cache
def _dealt(num_groups: int, block: int, look: int, seed: int) -> np.ndarray:
    """Ways of dealing the scores of a block out to its groups again, the real one first: [groups, P, scores].

    1 where a group gets a score, else 0. For two groups these are all ways, each equally often; else as many at random.
    """
    rng = np.random.default_rng((seed, look, num_groups))
    real = np.repeat(np.arange(num_groups), block)  # the group of each score
    num = REPEATS * math.comb(2 * block, block)
    if num_groups == 2:
        owners = np.ones((num // REPEATS, 2 * block), dtype=int)
        np.put_along_axis(owners, np.array([*combinations(range(2 * block), block)]), 0, axis=1)
        others = rng.permutation(np.tile(owners, (REPEATS, 1))[1:])
    else:
        others = rng.permuted(np.tile(real, (num - 1, 1)), axis=1)
    owners = np.concatenate([real[None], others])
    return np.stack([owners == group for group in range(num_groups)]).astype(np.float64)


def _boundary(largest: np.ndarray, alive: np.ndarray, level: float) -> tuple[float, float]:
    """The smallest bound that at most a share `level` of all permutations exceeds, and the share that does.

    Args:
        largest: statistic of each permutation, [P].
        alive: those that count, [P]; the others were rejected at an earlier look.
        level: what may be spent.
    """
    values = largest[alive]
    most = min(int(level * len(alive) + 1e-9), len(values) - 1)
    bound = np.partition(values, len(values) - 1 - most)[len(values) - 1 - most]
    return float(bound), float((values > bound).sum() / len(alive))
