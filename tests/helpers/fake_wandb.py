"""wandb without wandb: a module that records what is called, and may raise or hang in one of the calls."""

import threading
from types import SimpleNamespace

import torch

from rlgen.runs import checkpoint
from rlgen.runs.log import RunLog


class FakeWandb(SimpleNamespace):
    """Records calls; raises in the one named by `breaks`."""

    def __init__(self, folder, breaks=""):
        super().__init__(calls=[], breaks=breaks, dir=str(folder / "files"), url=None, Image=str, summary={})
        self.hangs, self.free = "", threading.Event()

    def Settings(self, **options):
        return options

    def __getattr__(self, name):
        def call(*args, **options):
            self.calls.append((name, args, options))
            if name == self.hangs:
                self.free.wait(60.0)
            if name == self.breaks:
                raise ConnectionResetError("Connection lost\nlong story")
            return self

        return call


def finished(run, private=False, parent=None):
    """A finished run with checkpoints of two steps, the earlier one the best."""
    run.config["wandb_private"], run.info["parent"] = private, parent
    for run.step in (500, 1000):
        checkpoint.save(run.checkpoints, run.step, {"step": run.step})
    run.saved, run.best = 1000, {"metric": "eval/nll", "value": 1.0, "step": 500}
    run.export(torch.nn.Linear(2, 3))
    log = RunLog(run, "offline", quiet=True)
    log.write(1000)
    log.close()
