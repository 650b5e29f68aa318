"""Studies: trials of several seeds each, chosen, pruned and kept by Optuna, trained by any number of workers."""
