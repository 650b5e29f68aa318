"""An evaluation that a signal interrupts: it ends soon, and leaves nothing behind, so that it can be taken again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from rlgen.core.generators import generator_states, set_generators
from rlgen.core.learner import Learner


class EvaluationInterrupted(Exception):
    """The run was asked to stop while its learner was evaluated."""


def never() -> bool:
    """The `interrupted` of an evaluation that nothing can interrupt."""
    return False


@contextlib.contextmanager
def ask_between_layers(learner: torch.nn.Module, interrupted: Callable[[], bool]) -> Iterator[None]:
    """Ask whether to stop wherever one of the networks in a learner is called, whatever its algorithm evaluates.

    Raises:
        EvaluationInterrupted: `interrupted` returned true.
    """

    def ask(module: torch.nn.Module, args: Any) -> None:
        if interrupted():
            raise EvaluationInterrupted

    hooks = [module.register_forward_pre_hook(ask) for module in learner.modules() if module is not learner]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def undo_if_interrupted(learner: Learner) -> Iterator[None]:
    """Put back the random numbers that an interrupted evaluation took: it is taken again, and training goes on."""
    own, others = learner.generator.get_state(), generator_states(learner.device.type == "cuda")
    try:
        yield
    except EvaluationInterrupted:
        learner.generator.set_state(own)
        set_generators(others)
        raise
