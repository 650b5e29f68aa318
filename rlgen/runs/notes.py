"""What is said of a run's environments or images before it begins, and before it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rlgen.core.image_source import ImageSource
from rlgen.core.learner import Learner
from rlgen.core.normalization import is_normalised
from rlgen.core.source import EnvSource
from rlgen.envs import atari, own_files
from rlgen.envs.border import in_words
from rlgen.envs.given import to_go_on
from rlgen.envs.namespaces import is_atari
from rlgen.envs.parts import about, kept
from rlgen.features.judge import LEAST
from rlgen.text import warn


def say(source: Any, config: Mapping[str, Any]) -> None:
    """A line on stderr for what the user may not expect, once a run.

    Args:
        source: of the run.
        config: flat.
    """
    if isinstance(source, EnvSource) and (seen := about(source.spec.obs_parts)):
        warn(seen, note=True)
    if isinstance(source, EnvSource) and (actions := in_words(source.spec)):
        warn(actions, note=True)
    if isinstance(source, EnvSource) and (how := to_go_on(source.env_id, source.options.get("wrappers") or ())):
        warn(f"what is passed from Python is not saved; to go on with the run, pass it again: {how}", note=True)
    if isinstance(source, EnvSource) and not source.has_time_limit:
        limit = f"evaluation cuts its episodes after {source.eval_max_episode_steps:,} steps (--eval-max-episode-steps)"
        warn(f"environment {source.env_id!r} has no time limit: {limit}", note=True)
    if isinstance(source, EnvSource) and config.get("normalize_obs"):
        parts = kept(source.spec.parts)
        left = [part.name for part in parts if not is_normalised(part)]
        if left:
            names = "observations" if len(left) == len(parts) else ", ".join(left)
            why = "pictures, bytes and choices are no measurements, a network scales them itself"
            warn(f"--normalize-obs leaves {names} of {source.env_id!r} as they are: {why}", note=True)
    if isinstance(source, EnvSource) and source.spec.protocol:
        warn(atari.about(source.spec.protocol), note=True)
    elif isinstance(source, EnvSource) and source.vectorization == "native" and is_atari(source.env_id):
        warn("native without the standard task: rewards, and so scores, are clipped to -1, 0 and 1", note=True)
    if isinstance(source, ImageSource):
        warn(source.data.about(), note=True)
        if source.eval_samples and source.judge is None:
            there = f"--eval-samples is {source.eval_samples}, the number of held-out images {len(source.data.test)}"
            warn(f"samples are not compared: {there}, both must be at least {LEAST}", note=True)


def say_device(learner: Learner, config: Mapping[str, Any]) -> None:
    """A line on stderr where `auto` leaves a GPU alone.

    Args:
        learner: of the run.
        config: flat.
    """
    if config["device"] == "auto" and learner.device.type == "cpu" and torch.cuda.is_available():
        numbers = sum(param.numel() for param in learner.parameters() if param.requires_grad)
        what = f"networks of {numbers:,} numbers with {config['num_envs']:,} environments are faster there"
        warn(f"--device auto takes the CPU: {what} (--device cuda: the GPU)", note=True)


def keep_files(info: dict[str, Any], source: Any) -> None:
    """Note in a new run's info, hence in its config.json, the digests of the user's own files behind its environment.

    Args:
        info: of the run.
        source: of the run.
    """
    if isinstance(source, EnvSource):
        info["own_files"] = own_files.digests(source.env_id, source.options["wrappers"])


def say_changed_files(name: str, info: Mapping[str, Any], source: Any) -> None:
    """A line on stderr where those files are not what they were when a run began; none of an older run.

    Args:
        name: of the run.
        info: of the run.
        source: of what goes on with it.
    """
    then = info.get("own_files")
    if then and (files := own_files.changed(then, own_files.digests(source.env_id, source.options["wrappers"]))):
        have = "has" if len(files) == 1 else "have"
        warn(f"{', '.join(files)} {have} changed since run {name} began: its environment may be another now", note=True)


def keep_judged(info: dict[str, Any], source: Any) -> None:
    """Note in a run's info, hence in its config.json, what makes scores of its samples comparable.

    Args:
        info: of the run, whether it is new or goes on.
        source: of the run.
    """
    found = source.judged() if isinstance(source, ImageSource) else None
    if found is None:
        return
    then = info.get("judged")
    if then and then != found:
        what = "features" if then.get("sha256") != found["sha256"] else "numbers of images"
        warn(f"samples are compared by other {what} than when the run began: their scores are not to be compared")
    info["judged"] = found
