"""`rlgen preview DATA`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from rlgen.data.preparation import Preparation
from rlgen.errors import UsageError


@dataclass(frozen=True)
class Options(Preparation):
    """Say what is read of a data set, and draw some of its training images as a model would see them."""

    what: str = "digits"  # a data set, as --data of train
    data_dir: str | None = None  # where its files are looked for (None: $RLGEN_DATA, then the user's cache)
    max_memory: str | None = None  # that reading its images may take, as 8GB or 500MiB (None: what is at hand)
    num: int = 64  # training images in the picture; in [1, 10000]
    out: str = "preview.png"  # the picture


def run(options: Options) -> str:
    """Write the picture; says what was read, and where it is."""
    out = Path(options.out)
    if out.suffix != ".png" or not out.parent.is_dir():
        raise UsageError(f"--out {out}: must end in .png, in a directory that exists")
    from rlgen.data.load import load
    from rlgen.pictures import grid, save_png

    preparation = Preparation(**{field.name: getattr(options, field.name) for field in fields(Preparation)})
    data = load(options.what, options.data_dir, options.max_memory, preparation)
    num = min(options.num, len(data.train))
    chosen = [i * len(data.train) // num for i in range(num)]  # from the first to the last
    save_png(grid(data.train[chosen]), out)
    return f"{data.about()}\n{num} training images in {out}"
