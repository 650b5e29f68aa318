"""Where the work runs: the device and the threads."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

import torch

from rlgen.errors import UsageError


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU where there is one.

    Raises:
        UsageError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device; use --device auto, or see `rlgen doctor`")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))


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
