"""A trained run is used: loaded, evaluated, sampled from."""

from rlgen.inference.drawing import Drawn, draw, sample
from rlgen.inference.evaluation import evaluate
from rlgen.inference.restore import load

__all__ = ["Drawn", "draw", "evaluate", "load", "sample"]
