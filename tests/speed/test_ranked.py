"""A gradient step of several ranks is the step of one process with all their batches."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_threads import ThreadRanks, at_once
from tiny import ALGORITHMS, tiny

from rlgen import experiment
from rlgen.assemble import build_learner
from rlgen.core.batch import SHARED
from rlgen.core.functional import masked_mean
from rlgen.core.learner import Learner
from rlgen.core.ranks import one_batch
from rlgen.core.step import Eager, GradientStep
from rlgen.speed.ranked import Ranked


class Noted(Eager):
    """Takes steps, and keeps the first one of every loss with all that it reads."""

    def __init__(self) -> None:
        self.steps: dict[str, GradientStep] = {}

    def minimize(self, step: GradientStep) -> Any:
        drawn = {name: value.clone() for name, value in step.noisy_batch().items()}
        self.steps.setdefault(step.loss.__name__, replace(step, batch=drawn, noise=None))
        return super().minimize(replace(step, batch=drawn, noise=None))


def noted_steps(algo: str, folder: Path) -> tuple[dict[str, Any], Any, dict[str, GradientStep]]:
    """Configuration, spec and a step of every loss."""
    config = tiny(algo, folder, graph=False)
    learner, source, buffer = experiment.build(config)
    learner.executor = noted = Noted()
    while not noted.steps:
        source.fill(buffer, learner)
        for batch in learner.batches(buffer):
            learner.learn(batch)
    source.close()
    return config, source.spec, noted.steps


def moved(
    learner: Learner, step: GradientStep, names: list[str], batch: Any, dtype: Any, ranks: ThreadRanks | None
) -> tuple[list[torch.Tensor], Any]:
    """Parameters after plain gradient descent on a batch, and the metrics: Adam would hide how long a gradient is."""
    learner.executor = Ranked(ranks) if ranks else Eager()  # type: ignore[arg-type]
    by_name = dict(learner.named_parameters())
    sgd = torch.optim.SGD([by_name[name] for name in names], lr=0.5)
    batch = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}
    metrics = learner.minimize(getattr(learner, step.loss.__name__), batch, sgd, step.max_grad_norm)
    return [param.detach() for param in by_name.values()], metrics


@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["float32", "float64"])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_step_of_ranks_is_that_of_all_their_batches(
    algo: str, dtype: torch.dtype, near: float, tmp_path: Path
) -> None:
    config, spec, steps = noted_steps(algo, tmp_path)
    for step in steps.values():
        name_of = {id(param): name for name, param in step.learner.named_parameters()}
        names = [name_of[id(param)] for param in step.params]
        batch = dict(step.batch)
        half = len(batch["reward" if "reward" in batch else next(iter(batch))]) // 2
        if "valid" in batch:  # as many in one half as a quarter of those in the other
            batch["valid"] = torch.arange(2 * half) % 4 < torch.where(torch.arange(2 * half) < half, 1, 4)
        began, *learners = [build_learner(config, spec).to(dtype) for _ in range(4)]
        whole, metrics = moved(learners.pop(), step, names, batch, dtype, None)
        halves = [
            {name: value if name.startswith(SHARED) else value[part] for name, value in batch.items()}
            for part in (slice(half), slice(half, None))
        ]
        bodies = zip(learners, halves, strict=True)
        found = at_once([partial(moved, learner, step, names, own, dtype) for learner, own in bodies])
        assert any(not torch.equal(a, b) for a, b in zip(whole, began.parameters(), strict=True))
        for params, own in found:
            for one, other in zip(params, whole, strict=True):
                assert torch.allclose(one, other, rtol=near, atol=near), step.loss.__name__
            for name, expected in metrics.items():
                assert torch.allclose(own[name].double(), expected.double(), rtol=near, atol=near), name


def test_a_mean_over_a_mask_is_that_of_all_ranks() -> None:
    value, mask = torch.arange(8.0), torch.tensor([1, 0, 0, 0, 1, 1, 1, 0]).bool()

    def body(ranks: ThreadRanks, part: slice) -> torch.Tensor:
        with one_batch(ranks):
            return masked_mean(value[part], mask[part])

    found = at_once([lambda ranks: body(ranks, slice(4)), lambda ranks: body(ranks, slice(4, None))])
    assert [mean.item() for mean in found] == [15 / 4, 15 / 4]
    assert masked_mean(value[:4], mask[:4]) == 0  # outside it is one process again
