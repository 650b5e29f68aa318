"""States of older checkpoints, as those of today."""

from __future__ import annotations

from typing import Any

FINALS = {"dropped": "_first_final", "added": "_num_finals", "in_row": "_finals_in_row"}  # today's name, that of before


def converted(state: dict[str, Any]) -> dict[str, Any]:
    """A state.pt of format 1 in format 2, where the buffer's state is that of its parts.

    Args:
        state: of a checkpoint, whole.
    """
    buffer = state["buffer"]
    return state | {"format": 2, "buffer": None if buffer is None else converted_buffer(buffer)}


def converted_buffer(old: dict[str, Any]) -> dict[str, Any]:
    """The state of a buffer: ring, index and frames."""
    kind = {"capacity": old.get("capacity", -1), "n_step": old["n_step"], "frame_stack": old.get("frame_stack", 1)}
    if "storage" not in old:
        return kind
    columns, num_envs = old["storage"], old["_num_envs"]
    shapes = {name: [num_envs, *column.shape[2:]] for name, column in columns.items() if name != "valid"}
    frames = None
    if old["final_obs"] is not None:
        if kind["frame_stack"] > 1:
            shapes["obs"] = [num_envs, kind["frame_stack"], *columns["obs"].shape[2:]]
        shapes["next_obs"] = shapes["obs"]
        frames = {name: old[before] for name, before in FINALS.items()}
        frames |= {"tables": {"obs": old["final_obs"]}, "number": old["_final_id"]}
        if kind["frame_stack"] > 1:
            frames["age"] = old["_age"]
    ring = {"oldest": old["_first_row"], "num_used": old["_num_rows"], "columns": columns}
    index = {"num_added": old["num_added"], "num_valid": old["_num_valid"]}
    index |= {"valid_in_row": old["_valid_in_row"], "listed": old["_ids"]}
    return kind | {"row": shapes, "ring": ring, "index": index, "frames": frames}


def with_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """A state.pt of format 2 or 3 in format 4, where what is counted of every row of a ring is a tensor, not a list.

    Args:
        state: of a checkpoint, whole.
    """
    import torch

    buffer = dict(state.get("buffer") or {})
    for part, name in (("index", "valid_in_row"), ("frames", "in_row")):
        if counts := buffer.get(part):
            buffer[part] = counts | {name: torch.tensor(counts[name], dtype=torch.int32)}
    return state | {"buffer": buffer} if buffer else state
