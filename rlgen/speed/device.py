"""Where the work runs: the device and the threads."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

import torch
from torch import nn

from rlgen._cores import USABLE
from rlgen.errors import UsageError

SMALL = 2**15  # numbers of networks that an agent steps faster on a CPU: a launch of a kernel takes longer than they do
FEW_ENVS = 64  # beside them

if USABLE is not None and {"OMP_PROC_BIND", "OMP_PLACES"} & {*os.environ}:
    # Importing torch has put this thread on one core then: so would be the threads of environments, and processes.
    os.sched_setaffinity(0, USABLE)


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU where there is one, but see `is_small`.

    Raises:
        UsageError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu or auto, or see `rlgen doctor`")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))


def is_small(nets: nn.Module, num_envs: int) -> bool:
    """Whether an agent is faster on a CPU than on a GPU: its networks are small, without convolutions, its envs few."""
    numbers = sum(param.numel() for param in nets.parameters() if param.requires_grad)
    convolutional = any(param.ndim > 2 for param in nets.parameters())
    return numbers <= SMALL and not convolutional and num_envs <= FEW_ENVS


def set_threads(num: int, convolutional: bool) -> int:
    """Set torch's threads and return how many: `num`, or with 0 one for small networks and up to four for convolutions.

    More threads than cores this process may use slow small operations down by up to 100 times, so the affinity decides.
    """
    threads = num or (min(4, cores()) if convolutional else 1)
    torch.set_num_threads(threads)
    return threads


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_precision(name: str, device: torch.device) -> None:
    """On a GPU, round the factors of matrix products and convolutions to TF32's 10 bits, unless it is float32."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if name == "float32" else "high")
        torch.backends.cudnn.allow_tf32 = name != "float32"


@contextlib.contextmanager
def few_collections() -> Iterator[None]:
    """Leave what is there now out of garbage collections: to look through torch's million objects is 5 % of a step."""
    if gc.get_freeze_count() == 0:  # with --seeds the first one has
        gc.collect()  # an earlier run's networks are garbage in cycles, and would stay
        gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
