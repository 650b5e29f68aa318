"""Metrics of agents and of generative models."""

EVAL_IMAGES = 1_000  # held-out images of an evaluation during training; the last one uses all of them too
SUBSET = f"eval/first_{EVAL_IMAGES}/"  # names of the last evaluation's metrics of those images, beside those of all
