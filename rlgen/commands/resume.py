"""`rlgen resume RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rlgen import commands
from rlgen.options import config
from rlgen.options.shares import number


@dataclass(frozen=True)
class Options:
    """Continue a run from its last good checkpoint, as if it had never stopped."""

    run: str  # a name, a directory, a unique prefix, or last
    steps: int | None = None  # a new length (None: the run's own); in [1, 10**12]
    max_memory: str | None = None  # that reading its images may take, as 8GB or 500MiB (None: what is at hand)
    device: Literal["same", "auto", "cpu", "cuda"] = "same"  # same is where it was last, if `auto` chose that
    runs_dir: str = "runs"  # where runs are looked for


def parse(words: Sequence[str]) -> Options:
    """The options; that of an algorithm stays as it is."""
    names = [name for name in config.every_option() if name not in commands.options_of("resume")]
    reason = "a run goes on with its options; a new run with others: rlgen fork RUN --set {name}=VALUE"
    return Options(**commands.parse("resume", words, {name: reason.format(name=name) for name in names}))


def run(options: Options) -> str | None:
    """Train on; says so where nothing is left to do."""
    from rlgen.runs.find import find
    from rlgen.runs.run import Run

    if options.steps is None:
        opened = Run.open(find(options.run, options.runs_dir))
        if opened.finished:
            longer = opened.command("resume", "--steps", str(2 * opened.steps))
            return f"run {opened.name} is finished, at step {opened.step:,} of {opened.steps:,}; to go on: {longer}"
    name, runs_dir, steps = options.run, options.runs_dir, options.steps
    device = None if options.device == "same" else options.device
    if number() > 1:
        from rlgen import ranked

        ranked.resume(name, runs_dir, steps, options.max_memory, device)
    else:
        from rlgen import experiment

        experiment.resume(name, runs_dir, steps, max_memory=options.max_memory, device=device)
    return None
