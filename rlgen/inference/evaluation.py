"""A trained run is judged: an agent by episodes, a model by held-out images."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlgen.assemble import build_source
from rlgen.core.learner import Agent, Generative
from rlgen.core.source import EVAL_SEED
from rlgen.envs import watch
from rlgen.envs.given import hold, hold_wrappers
from rlgen.errors import UsageError
from rlgen.features.judge import LEAST
from rlgen.files import write_whole
from rlgen.inference.restore import restored
from rlgen.metrics import LAST_SAMPLES
from rlgen.runs.files import own_folder
from rlgen.runs.notes import say_changed_files
from rlgen.runs.records import check_spec, without_masks
from rlgen.runs.run import Run
from rlgen.video import Clip

EPISODES = 100  # of an evaluation, where nothing is said
FRESH_SEED = 2 * EVAL_SEED  # added to the run's seed, for a checkpoint that the run's own evaluations have chosen


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
    learner, opened = restored(run, runs_dir, checkpoint, device)
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
