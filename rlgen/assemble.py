"""The parts of a run, made from its configuration: source, learner, buffer."""

from __future__ import annotations

import hashlib
import random
from dataclasses import fields
from typing import Any, cast

import numpy as np
import torch

from rlgen.core.buffer import Buffer
from rlgen.core.image_source import ImageSource
from rlgen.core.learner import Agent, Learner
from rlgen.core.normalization import NormalizedBuffer, normalized
from rlgen.core.source import EnvSource
from rlgen.data.images import ImageSpec
from rlgen.data.load import load as load_images
from rlgen.data.preparation import Preparation
from rlgen.envs.spec import EnvSpec
from rlgen.options import algorithms
from rlgen.options.algorithms import find
from rlgen.options.config import algorithm_config, options
from rlgen.secret import restored
from rlgen.speed.compiled import choose
from rlgen.speed.device import is_small, pick_device, set_precision, set_threads
from rlgen.speed.gpu_source import GpuEnvSource
from rlgen.speed.recorded import Recorded


def build_source(config: dict[str, Any], asked: str | None = None) -> Any:
    """The run's environments, or its data set with another part of its split held out.

    Where the networks decide on the device, environments are `placed` once those are known.
    """
    config = restored(config)
    device = pick_device(config["device"])
    if not issubclass(algorithms.load(config["algo"]), Agent):
        preparation = Preparation(**{field.name: config[field.name] for field in fields(Preparation)})
        data = load_images(config["data"], config["data_dir"], config["max_memory"], preparation, asked)
        return ImageSource(data, device, config["eval_samples"])
    source = EnvSource(
        config["env_id"],
        config["num_envs"],
        config["vectorization"],
        config["seed"],
        config["eval_episodes"],
        video=config["video"],
        eval_max_episode_steps=config["eval_max_episode_steps"],
        eval_env_kwargs=config["eval_env_kwargs"],
        env_kwargs=config["env_kwargs"],
        wrappers=config["wrapper"],
        max_episode_steps=config["max_episode_steps"],
        env_check=config["env_check"],
        frame_stack=config["frame_stack"],
        time_in_obs=config["time_in_obs"],
        rescale_actions=config["rescale_actions"],
        masks=config.get("masks"),
        obs=config["obs"],
        obs_layout=config["obs_layout"],
        network=config["network"],
        atari=config["atari"],
    )
    return source if config["device"] == "auto" else placed(source, device)


def placed(source: Any, device: torch.device) -> Any:
    """A source for a learner on that device."""
    if device.type == "cpu" or type(source) is not EnvSource:
        return source
    return GpuEnvSource.taking_over(source, device)


def build_learner(config: dict[str, Any], spec: EnvSpec | ImageSpec) -> Learner:
    """The run's learner, seeded, on its device; `auto` is the CPU where that is faster for these networks."""
    config = restored(config)
    algorithm: Any = algorithms.load(config["algo"])
    if config.get("normalize_obs") or config.get("normalize_reward"):
        algorithm = normalized(algorithm, config["normalize_obs"], config["normalize_reward"])
    device = pick_device(config["device"])

    def made(device: torch.device) -> Learner:
        seed_everything(config["seed"])
        with torch.device(device):
            return cast(Learner, algorithm(algorithm_config(algorithm, config), spec))

    if config["device"] == "auto" and device.type == "cuda" and isinstance(spec, EnvSpec):
        learner = made(torch.device("cpu"))
        if not is_small(learner, spec.num_envs):
            learner = made(device)
    else:
        learner = made(device)
    learner.precision = config["precision"]
    set_precision(learner.precision, learner.device)
    if config["graph"]:
        learner.executor = Recorded(config["verify_graph"])
    set_threads(config["threads"], any(isinstance(module, torch.nn.Conv2d) for module in learner.modules()))
    return learner


def choose_executor(config: dict[str, Any], learner: Learner, spec: EnvSpec | ImageSpec, runs: int = 1) -> str:
    """What `compile` is of a run, or of several alike; the learner gets its executor."""
    known = options(algorithm := find(config["algo"]))
    asked = {name for name, option in known.items() if not option.learns_the_same} - {"seed", "steps"}
    work = {name: config.get("env_id" if name == "env" else name) for name in asked}
    work["threads"] = torch.get_num_threads()
    work["file"] = hashlib.sha256(algorithm.path.read_bytes()).hexdigest()
    num_envs = spec.num_envs if isinstance(spec, EnvSpec) else 1
    return choose(config, work, learner, config["steps"] // (learner.rows_per_turn * num_envs), runs)


def build_buffer(learner: Learner, spec: EnvSpec | ImageSpec) -> Buffer:
    """The learner's buffer, which keeps single frames where the environment's observations are stacks of them."""
    buffer = learner.make_buffer()
    if isinstance(spec, EnvSpec):
        buffer.frame_stack, buffer.frame_padding = spec.frame_stack, spec.frame_padding
        buffer.reward_clip = spec.reward_clip
    normalizer: Any = getattr(learner, "normalizer", None)
    return cast(Buffer, NormalizedBuffer(buffer, normalizer)) if normalizer else buffer


def seed_everything(seed: int) -> None:
    """Seed torch, NumPy and Python; learners, buffers and environments derive their own generators from it."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
