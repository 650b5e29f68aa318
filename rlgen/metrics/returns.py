"""Statistics of scores over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def iqm(scores: Sequence[float] | np.ndarray) -> float:
    """Interquartile mean: the mean of the middle half of the scores (Agarwal et al. 2021, section 4.3).

    A quarter of them, rounded down, is dropped at each end, as `scipy.stats.trim_mean(scores, 0.25)` does.

    Raises:
        ValueError: there are none.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if ordered.size == 0:
        raise ValueError("the interquartile mean of no scores is not defined")
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())
