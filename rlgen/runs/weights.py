"""The weights of networks: their digest, and weights.safetensors, for programs that are not rlgen."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rlgen.files import replaced


def save_weights(path: Path, state: dict[str, Any], about: dict[str, str]) -> None:
    """Replace a safetensors file in one piece with the tensors of a module's state.

    Args:
        path: the file.
        state: of `state_dict()`; what is no tensor is left out.
        about: goes into the file's header.

    Raises:
        DiskError: it could not be written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # copies: safetensors refuses tensors that share memory
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in state.items() if torch.is_tensor(value)
    }
    with replaced(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt", **about})
        except SafetensorError as error:  # its own word for a full disk
            raise OSError(str(error).split("\n")[0]) from error


def digest(state: dict[str, Any]) -> str:
    """The sha256 of all tensors of a module's state: names, dtypes, shapes and bytes."""
    import torch

    total = hashlib.sha256()
    for name, value in sorted(state.items(), key=lambda item: item[0]):
        if torch.is_tensor(value):
            total.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
            total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
