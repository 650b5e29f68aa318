"""`rlgen sample RUN`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlgen.errors import UsageError
from rlgen.files import replaced


@dataclass(frozen=True)
class Options:
    """Draw images from a trained generative model."""

    run: str  # a name, a directory, a unique prefix, or last
    num: int = 64  # images; in [1, 1000000]
    out: str = "samples.png"  # a .png grid, or an .npz with `images`, uint8 [N, H, W, C]
    seed: int = 0  # the same seed draws the same images; in [0, 2**63)
    checkpoint: str = "last"  # last, best, or a step
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> str:
    """Write the images; says how many and where."""
    out = Path(options.out)
    if out.suffix not in (".npz", ".png") or not out.parent.is_dir():
        raise UsageError(f"--out {out}: must end in .png (a grid) or .npz (`images`), in a directory that exists")
    from rlgen import inference

    images = inference.sample(options.run, options.num, options.runs_dir, options.seed, options.checkpoint)
    if out.suffix == ".npz":
        import numpy as np

        with replaced(out) as temporary, open(temporary, "wb") as file:  # to a name it adds an ending of its own
            np.savez_compressed(file, images=images)
    else:
        from rlgen.pictures import grid, save_png

        save_png(grid(images.transpose(0, 3, 1, 2)), out)  # [N, H, W, C] -> [N, C, H, W]
    return f"{len(images)} images in {out}"
