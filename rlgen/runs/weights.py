"""weights.safetensors: the networks of a finished run, for programs that are not rlgen."""

from __future__ import annotations

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
