"""A plug-in that was written for the version before this one still loads, and is told the new names."""

import os
import subprocess
import sys

PLUG_IN = '''"""Outside, 2015."""
from dataclasses import dataclass
from typing import TYPE_CHECKING

import rlgen.functional
from rlgen.buffer import Buffer, minibatches
from rlgen.distributions import actor, epsilon_greedy
from rlgen.envs import EnvSpec
from rlgen.errors import UsageError
from rlgen.learner import Agent, Batch
from rlgen.nets import infer, mlp, network
from rlgen.sources import ImageSpec

HALF = rlgen.functional.linear_schedule(1.0, 0.0, 1.0, 0.5)

@dataclass(frozen=True)
class Config:
    lr: float = 0.5  # in (0, 1)

class Outside(Agent):
    Config = Config

    def act(self, obs, greedy=False):
        return {"action": HALF, "buffer": Buffer}
'''
LOAD = """
import importlib, sys, warnings
from importlib.metadata import EntryPoint
from rlgen.options import algorithms
try:
    import rlgen.learner
except ModuleNotFoundError as error:
    print("before:", error)
algorithms.entry_points = lambda group: [EntryPoint("outside", "outside_algo", "rlgen.algorithms")]
print(algorithms.find("outside").kind, "torch" in sys.modules)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    cls = algorithms.load("outside")
for warning in caught:
    print(warning.category.__name__, warning.filename.rpartition("/")[2], warning.message)
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Agent
print(issubclass(cls, Agent), cls.act(None, None)["action"], cls.act(None, None)["buffer"] is Buffer)
import torch
net = torch.nn.Linear(2, 1)
print(torch.equal(sys.modules["outside_algo"].infer(net, torch.ones(1, 2)), net(torch.ones(1, 2))))
try:
    from rlgen.nets import nonsense
except ImportError as error:
    print(str(error).partition(" from")[0])
"""


def test_a_plug_in_with_old_names_loads_and_is_told_the_new_ones(tmp_path):
    (tmp_path / "outside_algo.py").write_text(PLUG_IN)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stderr
    before, kind, *lines = result.stdout.splitlines()
    assert before == "before: No module named 'rlgen.learner'"
    assert kind == "agent False", "found without importing torch"
    told = {line.split()[2]: line for line in lines if line.startswith("DeprecationWarning outside_algo.py")}
    old = ["buffer", "distributions", "envs", "learner", "nets", "sources", "functional"]
    assert sorted(told) == sorted(f"rlgen.{name}" for name in old), "one warning a module, at the plug-in's line"
    assert "rlgen.core.learner" in told["rlgen.learner"] and "rlgen.nets.networks" in told["rlgen.nets"]
    assert lines[-3:] == ["True 0.5 True", "True", "cannot import name 'nonsense'"]


def test_nothing_of_ours_uses_the_old_names():
    """Every algorithm loads in a process where they do not exist."""
    code = (
        "import sys\nfrom rlgen.options import algorithms, old_names\n"
        "for name in algorithms.own_modules(): algorithms.load(name)\n"
        "packages = ('rlgen.envs', 'rlgen.nets')\n"
        "print([name for name in old_names.MOVED if name in sys.modules and name not in packages])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


TRAINED = '''"""Outside, 2015."""
from dataclasses import dataclass
import torch
from rlgen.buffer import Buffer
from rlgen.learner import Agent
from rlgen.nets import infer, mlp

@dataclass(frozen=True)
class Config:
    lr: float = 0.01  # in (0, 1)
    batch_size: int = 8  # in [1, 100]

class Outside(Agent):
    Config = Config

    def __init__(self, cfg, spec):
        super().__init__(cfg)
        self.collect = 4
        self.q = mlp([4, 2])
        self.optimizer = torch.optim.Adam(self.q.parameters(), lr=cfg.lr)

    def make_buffer(self):
        return Buffer(100, generator=self.generator)

    def act(self, obs, greedy=False):
        return {"action": infer(self.q, obs).argmax(-1)}

    def draw(self, batch):
        return {"obs": batch["obs"], "noise": torch.randn(len(batch["obs"]), generator=self.generator)}

    def loss(self, nets, batch):
        loss = (nets.q(batch["obs"])[:, 0] - batch["noise"]).square().mean()
        return loss, {"losses/loss": loss}

    def update(self, batch):
        metrics = self.minimize(self.loss, batch, self.optimizer, draw=self.draw)
        self.num_updates += 1
        return metrics
'''
TRAIN = """
import sys, warnings
from importlib.metadata import EntryPoint
from rlgen.options import algorithms
algorithms.entry_points = lambda group: [EntryPoint("outside", "outside_algo", "rlgen.algorithms")]
import rlgen
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    run = rlgen.train("outside", steps=80, eval_episodes=1, wandb="disabled", threads=1, device="cpu", quiet=True)
print(rlgen.load(run.path).num_updates)
print(*sorted(str(w.message) for w in caught if "now; the old name" in str(w.message)), sep="\\n")
"""


def test_a_plug_in_of_before_trains_as_it_did(tmp_path):
    """`collect` was ignored in silence, and `draw=` a traceback."""
    (tmp_path / "outside_algo.py").write_text(TRAINED)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", TRAIN]
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    count, *told = result.stdout.splitlines()
    assert count == "20", "four environment steps to an update"
    assert any("Learner.collect is rows_per_turn" in line for line in told)
    assert any("minimize(draw=) is minimize(noise=)" in line for line in told)
