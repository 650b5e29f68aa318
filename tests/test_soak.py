"""Training for long takes no more memory, open files or threads than training for a minute."""

import os

import pytest
from soak import soak

MINUTES = float(os.environ.get("SOAK_MINUTES", "3"))


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["dqn", "gan"])
def test_memory_files_and_threads_stay_as_they_are(algo):
    first, last, evaluations, code = soak(algo, 60 * MINUTES)
    assert evaluations > 3 and code == 143
    assert last.rss < first.rss + max(10.0, 0.02 * first.rss)
    assert (last.files, last.threads) == (first.files, first.threads)
