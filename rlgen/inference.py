"""A trained run is used: loaded, evaluated, sampled from."""

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

from rlgen.assemble import build_learner, build_source
from rlgen.core.acting import checked
from rlgen.core.latents import slerp, truncated
from rlgen.core.learner import Agent, Generative, Learner
from rlgen.core.source import EVAL_SEED
from rlgen.data.images import ImageSpec
from rlgen.envs import watch
from rlgen.envs.given import hold, hold_wrappers
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.features.judge import LEAST
from rlgen.files import write_whole
from rlgen.metrics import LAST_SAMPLES
from rlgen.options import algorithms
from rlgen.pictures import to_uint8
from rlgen.runs.files import own_folder
from rlgen.runs.find import find
from rlgen.runs.notes import say_changed_files
from rlgen.runs.records import check_spec, spec_of, without_masks
from rlgen.runs.run import Run
from rlgen.video import Clip

EPISODES = 100  # of an evaluation, where nothing is said
FRESH_SEED = 2 * EVAL_SEED  # added to the run's seed, for a checkpoint that the run's own evaluations have chosen
PATH = 8  # images of an interpolation, its ends with them
NEIGHBOURS = 5  # training images beside a sample


def load(run: str | Path | Run, runs_dir: str = "runs", checkpoint: str = "last", device: str | None = None) -> Learner:
    """The trained learner of a run, for `.act(obs)` or `.sample(num)`.

    An agent takes observations as `rlgen.core.acting.checked` says: arrays or tensors, one or many.

    Args:
        run: as `train` returns it; or a name, a directory, a unique prefix, or `last`.
        runs_dir: where names are looked for.
        checkpoint: `last`, `best`, or a step.
        device: cpu, cuda or auto; None is that of the run, or the CPU where there is no GPU.
    """
    learner, opened = _restored(run.path if isinstance(run, Run) else run, runs_dir, checkpoint, device)
    if isinstance(learner, Agent):
        vars(learner)["act"] = checked(learner, spec_of(opened.path, opened.info, EnvSpec))
    return learner


def _restored(run: str | Path, runs_dir: str, checkpoint: str, device: str | None = None) -> tuple[Learner, Run]:
    """A run's learner from what its config.json says of the data: neither environments nor images are needed."""
    opened = Run.open(find(str(run), runs_dir))
    if device is not None:
        opened.config["device"] = device
    elif not torch.cuda.is_available():
        opened.config["device"] = "cpu"  # trained on a GPU, looked at without one
    kind: Any = EnvSpec if issubclass(algorithms.load(opened.config["algo"]), Agent) else ImageSpec
    learner = build_learner(opened.config, spec_of(opened.path, opened.info, kind))
    opened.restore_learner(learner, checkpoint)
    return learner.eval(), opened


def evaluate(
    run: str | Path,
    runs_dir: str = "runs",
    episodes: int | None = None,
    seed: int | None = None,
    checkpoint: str = "last",
    video: bool = False,
    split: str | None = None,
    max_memory: str | None = None,
    samples: int | None = None,
    env: Any = None,
    wrapper: Any = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Evaluate a trained run: greedy episodes of an agent (epsilon is 0), or held-out metrics of a generative model.

    Args:
        run: a name, a directory, a unique prefix, or `last`.
        runs_dir: where names are looked for.
        episodes: whole episodes an agent plays; None is 100.
        seed: of the episodes; by default the run's evaluation seed, and another one for the checkpoint `best`, so
            that it is not judged by the episodes that chose it.
        checkpoint: `last`, `best`, or a step.
        video: record the first episode under the run's `videos/`.
        split: the images that a model is judged on, val or test; by default those of the run's evaluations.
        max_memory: that reading images may take; None is what is at hand on this machine.
        samples: of a model, compared with as many held-out images; None is 10,000, or none where the run compared none.
        env: the environment, where it was passed from Python and no other process can import it.
        wrapper: the wrappers, the same.
        device: as of `load`.

    Returns:
        `episodic_return` with `mean`, `std` and `values` for agents, or the metrics by name; and what was evaluated.
    """
    learner, opened = _restored(run, runs_dir, checkpoint, device)
    if env is not None:
        hold(env, opened.config["env_id"])
    if wrapper is not None:
        hold_wrappers(wrapper, opened.config["wrapper"])
    is_agent = isinstance(learner, Agent)
    of_images, of_episodes = (
        {"split": split, "max-memory": max_memory, "samples": samples},
        {"episodes": episodes, "seed": seed},
    )
    for flag, value in of_images.items() if is_agent else {**of_episodes, "video": video or None}.items():
        if value is not None:
            why = "is an agent, it is judged by episodes" if is_agent else "is a model, it is judged by held-out images"
            raise UsageError(
                f"--{flag}{'' if value is True else f' {value}'}: {opened.name} {why}; leave that flag out"
            )
    samples_asked = samples is not None
    if samples is None:
        samples = LAST_SAMPLES if opened.config.get("eval_samples") else 0
    given = {"video": False, "max_memory": max_memory, "eval_samples": samples}
    config = opened.config | given | without_masks(opened.info)
    with watch.watching(config.get("step_timeout", 0)), closing(build_source(config, split)) as source:
        if isinstance(learner, Agent):  # a model is judged on other images too
            check_spec(opened.name, opened.info["spec"], source.spec)
            say_changed_files(opened.name, opened.info, source)
        result: dict[str, Any] = {"run": opened.name, "algo": opened.config["algo"], "step": opened.step}
        if isinstance(learner, Agent):
            if seed is None:
                seed = opened.config["seed"] + (FRESH_SEED if checkpoint == "best" else EVAL_SEED)
            episodes = episodes or EPISODES
            played = source.play(learner, episodes, seed)
            values = played.pop("returns")
            result |= {"env_id": opened.config["env_id"], "policy": "greedy", "seed": seed, "episodes": episodes}
            result["episodic_return"] = {"mean": float(np.mean(values)), "std": float(np.std(values)), "values": values}
            if video:
                clip = source.record(learner, seed)
                result["video"] = clip and str(_save(opened, clip, seed))
            return result | {name.removeprefix("eval/"): value for name, value in played.items()}
        assert isinstance(learner, Generative)
        if samples and source.judge is None and samples_asked:
            raise UsageError(
                f"--samples {samples}: {LEAST} or more are compared, with as many held-out images; {opened.name} has "
                f"{len(source.data.test)} of these"
            )
        metrics = source.score(learner, torch.from_numpy(source.data.test))
        source.last_samples = samples
        metrics |= source.score_samples(learner, final=True)
        result |= {"data": opened.config["data"], "images": len(source.data.test)}
        if source.judge is not None:
            result["samples"] = source.judge.count(samples)
        return result | {name.removeprefix("eval/"): value for name, value in metrics.items()}


def _save(run: Run, clip: Clip, seed: int) -> Path:
    path = own_folder(run.path, "videos") / f"step_{run.step:09d}_seed_{seed}.{clip.suffix}"
    write_whole(path, clip.data)
    return path


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
    learner, opened = _restored(run, runs_dir, checkpoint)
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
