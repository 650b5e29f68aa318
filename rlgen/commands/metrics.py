"""`rlgen metrics IMAGES REFERENCE`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from rlgen.data.preparation import Preparation
from rlgen.errors import UsageError


@dataclass(frozen=True)
class Options(Preparation):
    """Say how far images, of a model or of anything else, are from others: FD, KID, precision, recall and more."""

    sets: tuple[str, ...] = ()  # two: images, and what they should be like; folders, zips, .npz, known sets or runs
    num: int = 10_000  # images of each that are compared, at most; in [10, 10**6]
    features: str = "auto"  # digits, fashion-mnist, random, a .safetensors of rlgen's, TorchScript (auto: by reference)
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where they are computed
    data_dir: str | None = None  # where known data sets are looked for (None: $RLGEN_DATA, then the user's cache)
    max_memory: str | None = None  # that reading images may take, as 8GB or 500MiB (None: what is at hand)
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> dict[str, Any]:
    """The scores, and the floor: what other images of the reference score."""
    if len(options.sets) != 2:
        raise UsageError(
            f"it compares two sets of images, not {len(options.sets)}: as in rlgen metrics samples.npz digits"
        )
    if "" in (*options.sets, options.features):
        raise UsageError("a name is empty: give what is compared, as in rlgen metrics samples.npz digits")
    from rlgen.compare import image_sets

    preparation = Preparation(**{field.name: getattr(options, field.name) for field in fields(Preparation)})
    return image_sets.compare(
        *options.sets,
        num=options.num,
        features=options.features,
        device=options.device,
        preparation=preparation,
        data_dir=options.data_dir,
        max_memory=options.max_memory,
        runs_dir=options.runs_dir,
    )
