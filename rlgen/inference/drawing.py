"""A trained model draws images to be looked at."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlgen.assemble import build_source
from rlgen.core.latents import slerp, truncated
from rlgen.core.learner import Generative
from rlgen.errors import UsageError
from rlgen.inference.restore import restored
from rlgen.pictures import to_uint8
from rlgen.runs.run import Run

PATH = 8  # images of an interpolation, its ends with them
NEIGHBOURS = 5  # training images beside a sample


@dataclass(frozen=True)
class Drawn:
    """Images of a model, in the order in which a picture shows them.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: [N] int64; None of a model that learned without.
        columns: images of a row of a picture; None: any number.
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
        label: the class of all of them, of a model that learned with labels; None: one class comes after the other, of
            each as many images, or rows, as all of them need.
        ema: by the average of the weights, where there is one; False: by those that train.
        show: what the images are, as above.
        truncation: largest absolute value in a latent, `rlgen.core.latents.truncated`; None: there is none.

    Raises:
        UsageError: the run is an agent, or has no such label, no labels, no average, or no latents; the images that it
            was trained on are gone, or are others now.
    """
    learner, opened = restored(run, runs_dir, checkpoint)
    if not isinstance(learner, Generative):
        raise UsageError(
            f"{opened.name} is an agent ({opened.config['algo']}); it has no images to sample, see `rlgen eval`"
        )
    if not (ema or learner.averages):
        raise UsageError(f"--no-ema: {opened.name} has no average of its weights; leave it out")
    _check_shown(opened.name, learner, num, label, show, truncation)
    rows, columns = num, None  # as many labels, each of so many images
    if show == "interpolation":
        rows, columns = num // PATH, PATH
    elif show == "classes" and learner.num_classes:
        rows, columns = learner.num_classes, num // learner.num_classes
    options: dict[str, Any] = {} if ema else {"ema": False}
    labels = None
    if learner.num_classes is not None:
        each = math.ceil(rows / learner.num_classes)
        asked = torch.arange(rows) // each if label is None else label
        labels = learner.labels(rows, asked)
        options["label"] = labels = cast(Tensor, labels).repeat_interleave(columns or 1)
    latent = _latents(learner, rows, columns, seed, show, truncation)
    found = learner.sample(num, seed=seed, **options) if latent is None else learner.decode(latent, **options)
    images = to_uint8(found.numpy(force=True))
    if columns is None and labels is not None and label is None:
        columns = each
    drawn = Drawn(images, None if labels is None else labels.numpy(force=True), columns)
    return _with_neighbours(drawn, opened, learner) if show == "neighbours" else drawn


def _check_shown(
    run: str, learner: Generative, num: int, label: int | None, show: str, truncation: float | None
) -> None:
    """Refuse what a model cannot draw."""
    if learner.num_classes is None and (label is not None or show == "classes"):
        flag = "--show classes" if label is None else f"--label {label}"
        raise UsageError(f"{flag}: {run} learned without labels; leave it out")
    if show == "classes" and label is not None:
        raise UsageError(f"--label {label}: --show classes shows all of them; leave one of the two out")
    least = {"interpolation": PATH, "classes": learner.num_classes or 0}.get(show, 0)
    if num < least:
        raise UsageError(f"--num {num}: must be at least {least} for --show {show}, which has whole rows")
    if learner.latent_size is None and (least or truncation is not None):
        flag = f"--show {show}" if least else f"--truncation {truncation:g}"
        raise UsageError(f"{flag}: {run} does not make its images of latents; leave it out")


def _latents(
    learner: Generative, rows: int, columns: int | None, seed: int, show: str, truncation: float | None
) -> Tensor | None:
    """What images are made of, [N, Z]; None: of what `sample` draws itself."""
    if columns is None and truncation is None:
        return None
    num = {"interpolation": 2 * rows, "classes": columns or 0}.get(show, rows)
    latent = learner.latents(num, seed)
    if truncation is not None:
        latent = truncated(latent, truncation)
    if show == "interpolation":
        return slerp(latent[:rows], latent[rows:], torch.linspace(0, 1, PATH, device=latent.device)).flatten(0, 1)
    return latent.repeat(rows, 1) if show == "classes" else latent


def _with_neighbours(drawn: Drawn, opened: Run, learner: Generative) -> Drawn:
    """Images with the training images that are nearest to them."""
    from rlgen.features.find import net_for
    from rlgen.metrics.neighbours import nearest

    with closing(build_source(opened.config)) as source:
        if opened.info["spec"].get("sha256", "") not in ("", source.spec.sha256):  # of old runs it is not known
            why = f"{opened.name} learned from other images than its data are now"
            raise UsageError(f"--show neighbours: {why}; leave it out, or put those back")
        net, train = net_for(source.data).to(learner.device), source.data.train  # [N, C, H, W]
    of_images, _ = net(torch.from_numpy(drawn.images.transpose(0, 3, 1, 2)))
    of_training, _ = net(torch.from_numpy(train))
    distances, found = (each.numpy(force=True) for each in nearest(of_images, of_training, NEIGHBOURS))
    near = train[found].transpose(0, 1, 3, 4, 2)  # [N, k, H, W, C]
    return replace(drawn, neighbours=near, distances=distances, features=net.label)
