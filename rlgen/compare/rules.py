"""The rules of a comparison: which metrics are scores, which direction is better."""

from __future__ import annotations

import re

from rlgen.metrics import FLOOR, SUBSET, returns
from rlgen.runs.best import SCORES

FEW_SEEDS = 5
RULES = (
    "A score is the last evaluation of a run (eval/...), or the mean over the last tenth of its steps (other metrics); "
    "with --steps, the evaluation nearest to that step, at most one evaluation period away. A run without one is left "
    "out and named.",
    "A seed that diverged or failed counts: its score is the worst that any run had at any step on the same task, and "
    "so is the rest of its learning curve.",
    "A model is evaluated on all held-out images and on 10,000 samples at its end, on fewer before: its curve may step "
    "there. Scores of samples are ranked if they are of the same features and of as many images.",
    "Runs that are running, interrupted or killed are shown and not scored until they reach the step budget.",
    "IQM: mean of the middle half of the scores. Intervals: 95 %, percentile, stratified bootstrap over seeds, "
    f"{returns.RESAMPLES:,} resamples (2,000 for bands and profiles), seed 0; with few seeds they are too narrow.",
    "P(X > Y): probability that a run of X beats a run of Y, ties one half (Mann-Whitney); averaged over tasks. No "
    f"verdict under {FEW_SEEDS} seeds a side, where chance alone often separates two groups.",
    "Area: mean height of the learning curve over the step budget, in units of the score.",
    "Normalised: 0 is the worst that any run had at any step on a task, 1 the task's threshold, or the best run where "
    "there is none or everything is beyond it.",
)

ARROWS = {1: " \N{UPWARDS ARROW}", -1: " \N{DOWNWARDS ARROW}", 0: ""}  # by direction
DIRECTIONS = SCORES | {  # 1: higher is better, -1: lower is better, 0: neither
    "charts/episodic_return": 1,
    "charts/SPS": 1,
    "losses/elbo": 1,
    "eval/episodic_return_std": 0,
    "eval/episodic_length": 0,
    "eval/kl": 0,  # the two parts of the ELBO trade off against each other
    "eval/distortion": 0,
    "eval/d_gap": 0,  # a weak discriminator makes it small as well
    "eval/class_kl_lenet": -1,
    "eval/modes_lenet": 1,
    "eval/swd": -1,
}
LOWER = {"nll", "loss", "fd", "fid", "kid", "mmd", "bpd", "mse", "error", "distance", "gap"}
HIGHER = {"return", "reward", "score", "success", "elbo", "accuracy", "precision", "recall", "density", "coverage"}
TRAINING_METRICS = {"agent": "charts/episodic_return", "generative": "losses/elbo"}  # by kind: comes after the scores

SIMULATORS = ("gymnasium", "ale-py", "mujoco")  # another version may be another environment under the same name


def usual_name(metric: str) -> str:
    """The metric's name without the part that says that it is of the first images alone."""
    return SUBSET.sub("eval/", metric)


def direction(metric: str) -> int:
    """1 if higher is better, -1 if lower is, 0 if neither is known. Decided by name, else by the words in it."""
    name = usual_name(metric)
    if name.startswith(FLOOR):  # a property of the data
        return 0
    words = set(re.split(r"[/_.\-]", name.lower()))
    return DIRECTIONS.get(name, -1 if words & LOWER else 1 if words & HIGHER else 0)
