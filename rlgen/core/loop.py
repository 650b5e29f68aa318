"""The training loop: the same few lines for a Q-learner, a policy gradient, a VAE and a GAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlgen.core.buffer import Buffer
    from rlgen.core.learner import Learner
    from rlgen.core.source import Source
    from rlgen.runs.log import RunLog
    from rlgen.runs.run import Run


def train(learner: Learner, source: Source, buffer: Buffer, run: Run, log: RunLog) -> None:
    """Fill the buffer, learn from it, and log, evaluate and save when due, until `run.steps`.

    One clock: `step` counts what was taken from the source, environment steps over all environments or training images.
    A resumed run enters with `run.step` > 0 and goes on as if it had never stopped.
    """
    while run.step < run.steps:
        learner.progress = run.step / run.steps
        last_step, run.step = run.step, run.step + source.fill(buffer, learner)

        for batch in learner.batches(buffer):
            log.add(learner.update(batch))

        finished, best = run.step >= run.steps, False
        if run.due("log", last_step) or finished:
            log.write(run.step, source.metrics() | learner.schedules())
        if run.due("eval", last_step) or finished:
            scores = source.evaluate(learner, final=finished)
            log.write(run.step, scores, kind="eval")
            best = run.improved(scores)
        if run.due("checkpoint", last_step) or finished or best or run.interrupted:
            run.save(learner, source, buffer, log)
        run.raise_if_interrupted()
