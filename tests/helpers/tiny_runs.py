"""Flags of runs that take a moment."""

TINY = ["--wandb", "disabled", "--threads", "1"]
DQN = ["--num-envs", "1", "--learning-starts", "50", "--batch-size", "8", "--hidden", "8", "--eval-episodes", "1"]
