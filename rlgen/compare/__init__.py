"""Runs collected and judged: tables, figures, a page, wandb."""
