"""A trained model draws images to be looked at."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlgen.assemble import build_source
from rlgen.core.latents import slerp, truncated
from rlgen.core.learner import Generative
from rlgen.errors import UsageError
from rlgen.inference.restore import restored
from rlgen.memory import Room
from rlgen.pictures import to_uint8
from rlgen.runs.run import Run

SHOWN = ("samples", "interpolation", "neighbours", "classes")
PATH = 8  # images of an interpolation, its ends with them
CHUNK = 500  # images that are drawn at once
NEIGHBOURS = 5  # training images beside a sample


@dataclass(frozen=True)
class Drawn:
    """Images of a model, in the order in which a picture shows them.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: [N] int64; None of a model that learned without.
        columns: images of a row of a picture; None: any number, or a row a class.
        neighbours: the training images that are nearest to each, uint8 [N, k, H, W, C]; None where none were asked for.
        distances: how far they are, [N, k] float64, in features whose variance is 1 on average.
        features: what these are of: the network and the beginning of its digest.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    columns: int | None = None
    neighbours: NDArray[np.uint8] | None = None
    distances: NDArray[np.float64] | None = None
    features: str = ""


def sample(run: str | Path, num: int, runs_dir: str = "runs", **options: Any) -> NDArray[np.uint8]:
    """Draw images from a trained generative model: uint8 [num, H, W, C], the same ones for the same seed.

    Args:
        run: a name, a directory, a unique prefix, or `last`.
        num: of images.
        runs_dir: where names are looked for.
        options: as of `draw`.
    """
    return draw(run, num, runs_dir, **options).images


def draw(
    run: str | Path,
    num: int,
    runs_dir: str = "runs",
    seed: int = 0,
    checkpoint: str = "last",
    label: int | None = None,
    ema: bool = True,
    show: str = "samples",
    truncation: float | None = None,
) -> Drawn:
    """Draw images from a trained generative model to be looked at, the same ones for the same seed.

    - samples: of latents from the prior.
    - interpolation: in each row 8 images along an arc from one latent to another, `rlgen.core.latents.slerp`.
    - neighbours: samples, and beside each the 5 training images that are nearest by the features that metrics use.
    - classes: of a model that learned with labels a row a class, with the same latents in every row.

    Args:
        run: a name, a directory, a unique prefix, or `last`.
        num: of images; of whole rows at most so many.
        runs_dir: where names are looked for.
        seed: of the latents.
        checkpoint: `last`, `best`, or a step.
        label: the class of all of them, of a model that learned with labels; None: one class comes after the other,
            all with as many images, or rows, or one more.
        ema: by the average of the weights, where there is one; False: by those that train.
        show: what the images are, as above.
        truncation: largest absolute value in a latent, in (0, inf), as `rlgen.core.latents.truncated`; None: no limit.

    Raises:
        UsageError: the run is an agent, or has no such label, no labels, no average, or no latents; the images that it
            was trained on are gone, or are others now; so many do not fit in memory.
    """
    learner, opened = restored(run, runs_dir, checkpoint)
    if not isinstance(learner, Generative):
        raise UsageError(
            f"{opened.name} is an agent ({opened.config['algo']}); it has no images to sample, see `rlgen eval`"
        )
    if not (ema or learner.averages):
        raise UsageError(f"--no-ema: {opened.name} has no average of its weights; leave it out")
    _check_shown(opened.name, learner, num, label, show, truncation)
    rows, columns = num, 1
    if show == "interpolation":
        rows, columns = num // PATH, PATH
    elif show == "classes" and learner.kinds:
        rows, columns = len(learner.kinds), num // len(learner.kinds)
    of_row = learner.labels(rows, label)
    labels = None if of_row is None else of_row.repeat_interleave(columns)
    images = _images(learner, _latents(learner, rows, columns, seed, show, truncation), labels, num, seed, ema)
    drawn = Drawn(images, None if labels is None else labels.numpy(force=True), columns if columns > 1 else None)
    return _with_neighbours(drawn, opened, learner) if show == "neighbours" else drawn


def _check_shown(
    run: str, learner: Generative, num: int, label: int | None, show: str, truncation: float | None
) -> None:
    """Refuse what a model cannot draw."""
    if show not in SHOWN:
        raise UsageError(f"--show {show!r}: must be one of {', '.join(SHOWN)}")
    if truncation is not None and not 0 < truncation < math.inf:
        raise UsageError(f"--truncation {truncation}: must be in (0, inf)")
    if learner.num_classes is None and (label is not None or show == "classes"):
        flag = "--show classes" if label is None else f"--label {label}"
        raise UsageError(f"{flag}: {run} learned without labels; leave it out")
    if show == "classes" and label is not None:
        raise UsageError(f"--label {label}: --show classes shows all of them; leave one of the two out")
    whole = {"interpolation": PATH, "classes": len(learner.kinds) or None}.get(show)
    if num < (whole or 1):
        raise UsageError(
            f"--num {num}: must be at least {whole or 1}" + f" for --show {show}, which has whole rows" * bool(whole)
        )
    if learner.latent_size is None and (whole or truncation is not None):
        flag = f"--show {show}" if whole else f"--truncation {truncation:g}"
        raise UsageError(f"{flag}: {run} does not make its images of latents; leave it out")


def _latents(
    learner: Generative, rows: int, columns: int, seed: int, show: str, truncation: float | None
) -> Tensor | None:
    """What images are made of, [rows * columns, Z]; None of a model that has no latents."""
    if learner.latent_size is None:
        return None
    latent = learner.latents({"interpolation": 2 * rows, "classes": columns}.get(show, rows), seed)
    if show == "interpolation":
        latent = slerp(latent[:rows], latent[rows:], torch.linspace(0, 1, PATH, device=latent.device)).flatten(0, 1)
    elif show == "classes":
        latent = latent.repeat(rows, 1)
    return latent if truncation is None else truncated(latent, truncation)  # last: an arc leaves the limits of its ends


def _images(
    learner: Generative, latent: Tensor | None, labels: Tensor | None, num: int, seed: int, ema: bool
) -> NDArray[np.uint8]:
    """Images of latents and labels, uint8 [N, H, W, C], some at a time; without latents of a seed, all at once."""
    options: dict[str, Any] = {} if ema else {"ema": False}
    if latent is None:
        of_labels = {} if labels is None else {"label": labels}
        return to_uint8(learner.sample(num, seed=seed, **of_labels, **options))
    found, room = [], Room()
    for i in range(0, len(latent), CHUNK):
        of_labels = {} if labels is None else {"label": labels[i : i + CHUNK]}
        found.append(to_uint8(learner.decode(latent[i : i + CHUNK], **of_labels, **options)))
        room.check(f"--num {num}", 2 * found[0][0].nbytes * len(latent))  # what is found, and all of it together
    return np.concatenate(found)


def _with_neighbours(drawn: Drawn, opened: Run, learner: Generative) -> Drawn:
    """Images with the training images that are nearest to them."""
    from rlgen.features.find import net_for
    from rlgen.metrics.neighbours import nearest

    try:
        source = build_source(opened.config)
    except UsageError as error:
        put_back = f"put back what {opened.name} learned from, or go to the directory where it was trained"
        raise UsageError(f"--show neighbours: {error}; {put_back}") from error
    with closing(source):
        if opened.info["spec"].get("sha256", "") not in ("", source.spec.sha256):  # of old runs it is not known
            why = f"{opened.name} learned from other images than its data are now"
            raise UsageError(f"--show neighbours: {why}; leave it out, or put those back")
        net, train = net_for(source.data).to(learner.device), source.data.train  # [N, C, H, W]
    Room().check(f"--num {len(drawn.images)}", 2 * NEIGHBOURS * drawn.images.nbytes)
    of_images, _ = net(torch.from_numpy(drawn.images.transpose(0, 3, 1, 2)))
    of_training, _ = net(torch.from_numpy(train))
    distances, found = (each.numpy(force=True) for each in nearest(of_images, of_training, NEIGHBOURS))
    near = train[found].transpose(0, 1, 3, 4, 2)  # [N, k, H, W, C]
    return replace(drawn, neighbours=near, distances=distances, features=net.label)
