"""`rlgen sample RUN`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.files import replaced


@dataclass(frozen=True)
class Options:
    """Draw images from a trained generative model."""

    run: str  # a name, a directory, a unique prefix, or last
    num: int = 64  # images; in [1, 1000000]
    out: str = "samples.png"  # a .png grid, a row a class, or an .npz with `images`, uint8 [N, H, W, C], and `labels`
    seed: int = 0  # the same seed draws the same images; in [0, 2**63)
    label: int | None = None  # of all images, where a model learned labels (None: class after class); in [0, inf)
    ema: bool = True  # by the average of the weights, where a model has one
    checkpoint: str = "last"  # last, best, or a step
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> str:
    """Write the images; says how many and where."""
    out = Path(options.out)
    if out.suffix not in (".npz", ".png") or not out.parent.is_dir():
        raise UsageError(f"--out {out}: must end in .png (a grid) or .npz (`images`), in a directory that exists")
    from rlgen import inference

    found = (options.run, options.num, options.runs_dir, options.seed, options.checkpoint)
    images, labels = inference.sample_by_class(*found, label=options.label, ema=options.ema)
    if out.suffix == ".npz":
        import numpy as np

        with replaced(out) as temporary, open(temporary, "wb") as file:  # to a name it adds an ending of its own
            arrays: dict[str, Any] = {"images": images} | ({} if labels is None else {"labels": labels})
            np.savez_compressed(file, **arrays)
    else:
        from rlgen.pictures import grid, save_png

        columns = int((labels == 0).sum()) if options.label is None and labels is not None else None
        save_png(grid(images.transpose(0, 3, 1, 2), columns), out)  # [N, H, W, C] -> [N, C, H, W]
    return f"{len(images)} images in {out}"
