"""The training loop: the same few lines for a Q-learner, a policy gradient, a VAE and a GAN."""

from __future__ import annotations

from collections.abc import Callable

from rlgen.core.batch import Batch
from rlgen.core.buffer import Buffer
from rlgen.core.evaluation import Log, Run, Source, evaluate
from rlgen.core.learner import Learner


def turn(learner: Learner, source: Source, buffer: Buffer, log: Callable[[Batch], object]) -> int:
    """Fill the buffer, then learn from every batch that is due; returns how many steps of the clock that took."""
    ticks = source.fill(buffer, learner)

    for batch in learner.batches(buffer):
        log(learner.learn(batch))

    return ticks


def train(learner: Learner, source: Source, buffer: Buffer, run: Run, log: Log) -> None:
    """Take turns, and log, evaluate and save when due, until `run.steps`.

    One clock: `step` counts what was taken from the source, environment steps over all environments or training images.
    A resumed run enters with `run.step` > 0 and goes on as if it had never stopped.
    """
    while run.step < run.steps:
        learner.progress = run.step / run.steps
        last_step, run.step = run.step, run.step + turn(learner, source, buffer, log.add)

        finished, best = run.step >= run.steps, False
        if run.due("log", last_step) or finished:
            log.write(run.step, source.metrics() | learner.schedules())
        if run.due("eval", last_step) or finished:
            best = evaluate(learner, source, run, log)
        if run.due("checkpoint", last_step) or finished or best or run.interrupted:
            run.save(learner, source, buffer, log)
        run.raise_if_interrupted()
