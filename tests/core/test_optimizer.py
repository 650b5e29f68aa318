"""Options of an optimizer are those of PyTorch's, and a checkpoint's state is known by its names."""

from typing import Any

import pytest
import torch
from torch import nn

from rlgen.core.optimizer import OptimizerOptions, make_optimizer, state_names
from rlgen.errors import UsageError

ORACLES: dict[str, tuple[OptimizerOptions, Any]] = {
    "adam": (OptimizerOptions(), lambda params: torch.optim.Adam(params, lr=0.1)),
    "adam_decay": (
        OptimizerOptions(weight_decay=0.5),
        lambda params: torch.optim.Adam(params, lr=0.1, weight_decay=0.5),
    ),
    "adamw": (OptimizerOptions("adamw"), lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.01)),
    "adamw_decay": (
        OptimizerOptions("adamw", weight_decay=0.5),
        lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.5),
    ),
    "rmsprop": (OptimizerOptions("rmsprop"), lambda params: torch.optim.RMSprop(params, lr=0.1)),
    "rmsprop_momentum": (
        OptimizerOptions("rmsprop", momentum=0.9, weight_decay=0.5),
        lambda params: torch.optim.RMSprop(params, lr=0.1, momentum=0.9, weight_decay=0.5),
    ),
    "sgd": (OptimizerOptions("sgd"), lambda params: torch.optim.SGD(params, lr=0.1)),
    "sgd_momentum": (
        OptimizerOptions("sgd", momentum=0.9, weight_decay=0.5),
        lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.5),
    ),
}


@pytest.mark.parametrize("kind", ORACLES)
def test_the_steps_are_those_of_pytorch(kind: str) -> None:
    options, oracle = ORACLES[kind]
    one, other = (nn.Parameter(torch.tensor([1.0, -2.0, 3.0])) for _ in range(2))
    ours, theirs = make_optimizer(options, [one], 0.1), oracle([other])
    for i in range(5):
        for param, optimizer in ((one, ours), (other, theirs)):
            param.grad = torch.tensor([0.1, 1.0, -1.0]) * (i + 1)
            optimizer.step()
    assert torch.allclose(one, other, atol=1e-6)
    assert set(state_names(ours)) == set(ours.state[one]) == set(theirs.state[other])


def test_adam_s_own_settings_reach_those_that_have_them() -> None:
    param = nn.Parameter(torch.zeros(3))
    for kind in ("adam", "adamw"):
        [group] = make_optimizer(OptimizerOptions(kind), [param], 0.1, eps=1e-5, betas=(0.0, 0.9)).param_groups
        assert (group["eps"], group["betas"]) == (1e-5, (0.0, 0.9))
    [group] = make_optimizer(OptimizerOptions("rmsprop"), [param], 0.1, eps=1e-5, betas=(0.0, 0.9)).param_groups
    assert group["eps"] == 1e-5
    make_optimizer(OptimizerOptions("sgd"), [param], 0.1, eps=1e-5, betas=(0.0, 0.9))


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_momentum_that_would_do_nothing_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match=rf"--momentum 0.9 with --optimizer {kind}: it is of rmsprop and sgd"):
        make_optimizer(OptimizerOptions(kind, momentum=0.9), [nn.Parameter(torch.zeros(3))], 0.1)


def test_of_other_optimizers_no_names_are_known() -> None:
    param = nn.Parameter(torch.zeros(3))
    assert state_names(torch.optim.Adamax([param])) == ()
    assert state_names(torch.optim.SGD([param], lr=0.1)) == ()
