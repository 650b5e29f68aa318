"""The global random generators of torch, NumPy and Python, as plain values that a checkpoint holds."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from rlgen.envs.packed import check_place


def generator_states(cuda: bool) -> dict[str, Any]:
    """The states of all global generators; those of GPUs if `cuda`."""
    import torch

    numpy_state: dict[str, Any] = np.random.get_state(legacy=False)  # type: ignore[assignment]
    inner = numpy_state["state"]
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda else [],
        "numpy": numpy_state | {"state": inner | {"key": inner["key"].tolist()}},
        "python": random.getstate(),
    }


def set_generators(states: dict[str, Any]) -> None:
    """Put back what `generator_states` returned; checkpoints of format 2 and before have torch's alone.

    Raises:
        ValueError: it is something else.
    """
    import torch

    from rlgen.core.form import check_form

    now = generator_states(cuda=False)
    check_form(states, now | {"python": random.Random(0).getstate()}, "rng")  # ours may hold a number of `gauss`
    torch.set_rng_state(states["cpu"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    if "numpy" in states:
        if missing := now["numpy"].keys() - states["numpy"].keys():
            raise ValueError(f"rng.numpy lacks {', '.join(sorted(missing))}")
        inner = states["numpy"]["state"]
        check_place(states["numpy"])
        if len(inner["key"]) != len(now["numpy"]["state"]["key"]):
            raise ValueError(f"rng.numpy has {len(inner['key'])} numbers")
        np.random.set_state(states["numpy"] | {"state": inner | {"key": np.array(inner["key"], dtype=np.uint32)}})
    if "python" in states:
        version, internal, gauss = states["python"]
        if gauss is not None:
            check_form(gauss, 0.0, "rng.python's gauss")
        random.setstate((version, tuple(internal), gauss))
