"""How often a run saves: checkpoints that take long wait, so that saving takes at most 5 % of the time."""

from __future__ import annotations

import time

from rlgen.text import Seconds, warn

SHARE = 0.05  # of the time since the last checkpoint that it may have taken
SHORT = 1.0  # seconds: a checkpoint that takes less delays nothing, so small runs save at the steps that were asked for


class Pace:
    """Decides when a periodic checkpoint is due; what a signal, a best evaluation or the end asks for never waits."""

    def __init__(self) -> None:
        self._last = time.monotonic()  # when the last checkpoint was saved
        self._wait = 0.0  # seconds from then on
        self._is_late = self._said = False

    def due(self, reached: bool, minutes: float | None) -> bool:
        """Whether to save now.

        Args:
            reached: a step of the period was just passed.
            minutes: since the last checkpoint after which one is due; None or 0 is never.
        """
        since = time.monotonic() - self._last
        if not (reached or self._is_late or (minutes and since >= 60 * minutes)):
            return False
        self._is_late = since < self._wait
        if self._is_late and not self._said:
            self._said = True
            took, wait = Seconds(round(SHARE * self._wait)), Seconds(round(self._wait))
            share = f"saving takes at most {100 * SHARE:g} % of the time"
            warn(f"a checkpoint took {took}, so the next one waits for {wait}: {share}", note=True)
        return not self._is_late

    def saved(self, begin: float) -> None:
        """Count a checkpoint, of whatever reason.

        Args:
            begin: when it began, by `time.monotonic`.
        """
        self._last, self._is_late = time.monotonic(), False
        took = self._last - begin
        self._wait = took / SHARE if took >= SHORT else 0.0
