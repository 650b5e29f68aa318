"""Comparing runs: find them, judge them, show what was found as tables, figures, files and wandb views."""
