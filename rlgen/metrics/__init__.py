"""Metrics of agents and of generative models."""

import re

EVAL_IMAGES = 1_000  # held-out images of an evaluation during training; the last one uses all of them too
LAST_SAMPLES = 10_000  # that the last evaluation of a model compares with held-out images
SAMPLE_SEED = 1  # of those samples
FLOOR = "eval/floor/"  # begins names of what real images score in place of samples
SUBSET = re.compile(r"eval/first_\d+/")  # begins names of the last evaluation's metrics as earlier ones took them
OF_SAMPLES = re.compile(  # what depends on the samples of a model, and on whose features they are compared by
    r"eval/(floor/)?((fd|kid|precision|recall|density|coverage|two_sample|modes|class_kl|class_accuracy|copied|"
    r"nearest_ratio|near_copies)_(lenet|random)|swd)"
)


def subset(num: int) -> str:
    """How names of metrics of the first `num` images begin, beside those of all."""
    return f"eval/first_{num}/"
