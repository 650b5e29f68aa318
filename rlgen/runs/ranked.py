"""A run that several ranks train: each has a directory of its own, all save at the same steps and stop together.

Rank 0 has the run's directory. That of rank R lies in it, as `ranks/R`, and holds what is R's alone: its environments,
buffer and random numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rlgen.errors import CheckpointError, RankLostError, UsageError
from rlgen.runs import checkpoint
from rlgen.runs.records import check_ranks, read_config
from rlgen.runs.run import Run
from rlgen.runs.state import Log
from rlgen.runs.weights import digest

if TYPE_CHECKING:
    from rlgen.core.buffer import Buffer
    from rlgen.core.evaluation import Source
    from rlgen.core.learner import Learner
    from rlgen.core.ranks import Ranks

FOLDER = "ranks"  # of a run's directory


class RankedRun(Run):
    """The run of one rank."""

    ranks: Ranks
    _agreed = _is_late = False

    @property
    def whole(self) -> Path:
        """The directory of the run, that of rank 0."""
        return self.path.parent.parent if self.ranks.rank else self.path

    def ask(self) -> bool:
        """Whether this rank was asked to stop."""
        return super().interrupted

    def agree(self) -> None:
        """Stop if any rank was asked to: all of them call it at the same time."""
        asked, signum = self.ranks.most(self.ask(), self._signum)
        self._agreed, self._signum = bool(asked), self._signum or signum

    @property
    def interrupted(self) -> bool:
        """What was agreed on last."""
        return self._agreed

    def due(self, what: Literal["log", "eval", "checkpoint"], last_step: int) -> bool:
        """As of any run; whether a checkpoint may wait is for rank 0 to decide, whose clock it is."""
        found = super().due(what, last_step)
        if what != "checkpoint":
            return found
        every = self.config["checkpoint_every"]
        is_open = self.step // every > last_step // every or self.config.get("checkpoint_minutes")
        if is_open or self._is_late:
            found = self.ranks.first(found)
            self._is_late = not found
        return found

    def save(self, learner: Learner, source: Source, buffer: Buffer, log: Log) -> None:
        """As of any run, once it is sure that all ranks have the same networks."""
        if len(set(self.ranks.gather(digest(dict(learner.named_parameters()))))) > 1:
            raise RankLostError(f"the networks of the ranks differ at step {self.step:,}: nothing is saved of that")
        super().save(learner, source, buffer, log)

    def restore(self, learner: Learner, source: Source, buffer: Buffer, log: Log, which: str | int = "last") -> None:
        """Go back to the newest step at which every rank has a checkpoint that can be used."""
        have = self.ranks.gather(checkpoint.steps(self.checkpoints))
        problem: str | None = f"run {self.whole.name} has no step that all {self.ranks.size} ranks saved: train again"
        for step in sorted(set[int].intersection(*map(set, have)), reverse=True):
            problem = None
            try:
                super().restore(learner, source, buffer, log, step)
            except CheckpointError as error:
                problem = str(error)
            if (problem := next(filter(None, self.ranks.gather(problem)), None)) is None:
                for newer in (newer for newer in checkpoint.steps(self.checkpoints) if newer > step):
                    checkpoint.discard(checkpoint.directory(self.checkpoints, newer))  # not every rank had it
                return
        raise CheckpointError(problem or "")

    def usable(self) -> list[int]:
        """Those that every rank has saved."""
        saved = [checkpoint.steps(directory(self.whole, rank) / "checkpoints") for rank in range(self.ranks.size)]
        return sorted(set[int].intersection(*map(set, saved)))

    def command(self, verb: str, *options: str) -> str:
        """The line that does something with the whole run."""
        whole = Run(self.whole, self.info) if self.ranks.rank else self
        return Run.command(whole, verb, *options)


def directory(path: Path, rank: int) -> Path:
    """Where a rank keeps what is its own."""
    return path / FOLDER / str(rank) if rank else path


def check_whole(path: Path, size: int) -> None:
    """Whether a run has what each of its ranks kept.

    Raises:
        UsageError: other processes began it, or the directory of one is gone.
    """
    check_ranks(path.name, read_config(path)[0], size)
    for rank in range(size):
        if not (own := directory(path, rank) / "config.json").exists():
            raise UsageError(f"{own} is gone, and so what rank {rank} of {path.name} had; put it back, or train again")
