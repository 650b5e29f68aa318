"""How many seeds are enough: a group-sequential permutation test of several groups of scores.

AdaStop (Mathieu et al. 2023, "AdaStop: adaptive statistical testing for sound comparisons of Deep RL agents",
arXiv 2306.10882, algorithm 1). Scores come in blocks, a block of seeds of every group. After each block there is a look
at the data: a pair of groups whose means differ too much for chance is decided, and the others go on. The chance of any
false decision, over all pairs and all looks, is at most `level`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

BLOCK = 5  # seeds of a group between two looks
LOOKS = 5  # so a group needs at most 25 seeds
LEVEL = 0.05  # chance of any false decision
REPEATS = 40  # how often each way of splitting two blocks into halves is drawn


class Decision(NamedTuple):
    """What is known of two groups: `verdict` is "larger" (x has the larger mean), "smaller", "equal" or "open"."""

    x: str
    y: str
    verdict: str
    look: int  # the one that decided; the last one that was taken if open; 0: none yet


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
        groups: scores by group, [runs] each, in the order of their seeds.
        block: runs of each group between two looks.
        looks: how many there are at most.
        level: chance of any false decision, over all pairs and looks.
        seed: of the permutations.
    """
    scores = {name: np.asarray(values, dtype=np.float64) for name, values in groups.items()}
    decided: dict[tuple[str, str], Decision] = {}
    open_pairs = list(combinations(scores, 2))
    order = list(open_pairs)
    rng = np.random.default_rng(seed)
    sums = {pair: np.zeros(1) for pair in open_pairs}  # of the mean differences of all blocks: [permutations]
    alive = np.ones(1, dtype=bool)  # permutations that no look so far would have decided
    spent, look = 0.0, 0
    while (
        open_pairs
        and look < looks
        and all(len(scores[name]) >= block * (look + 1) for name in set(sum(open_pairs, ())))
    ):
        signs = _signs(block, rng)  # [permutations, 2 block]; the first is what was really observed
        for x, y in open_pairs:
            both = np.concatenate([scores[name][look * block : (look + 1) * block] for name in (x, y)])
            sums[x, y] = sums[x, y] + signs @ both / block
        alive = np.broadcast_to(alive, len(signs))
        look += 1
        while open_pairs:
            largest = np.max([np.abs(sums[pair]) for pair in open_pairs], axis=0)
            bound, cost = _boundary(largest, alive, level * look / looks - spent)
            pair = max(open_pairs, key=lambda pair: abs(sums[pair][0]))
            if not abs(sums[pair][0]) > bound:
                break
            decided[pair] = Decision(*pair, "larger" if sums[pair][0] > 0 else "smaller", look)
            open_pairs.remove(pair)
        if open_pairs:
            alive, spent = alive & (largest <= bound), spent + cost
    for pair in open_pairs:
        decided[pair] = Decision(*pair, "equal" if look == looks else "open", look)
    return [decided[pair] for pair in order]


def _signs(block: int, rng: np.random.Generator) -> np.ndarray:
    """Ways of calling half of two blocks +1 and the rest -1, in random order after the real one: [P, 2 block]."""
    halves = np.array(list(combinations(range(2 * block), block)))  # [C, block]
    signs = -np.ones((len(halves), 2 * block))
    np.put_along_axis(signs, halves, 1.0, axis=1)
    others = rng.permutation(np.tile(signs, (REPEATS, 1))[1:])
    return np.concatenate([signs[:1], others])


def _boundary(largest: np.ndarray, alive: np.ndarray, level: float) -> tuple[float, float]:
    """The smallest bound that at most a share `level` of all permutations exceeds, and the share that does.

    Args:
        largest: statistic of each permutation, [P].
        alive: those that count, [P]; the others were decided at an earlier look.
        level: what may be spent.
    """
    values = np.sort(largest[alive])
    above = (len(values) - np.searchsorted(values, values, side="right")) / len(alive)  # share beyond each value
    first = int(np.argmax(above <= level + 1e-12))  # the largest value has nothing beyond it
    return float(values[first]), float(above[first])
