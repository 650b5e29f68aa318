"""A run: its directory, checkpoints, metrics, wandb, progress, stopping and showing."""
