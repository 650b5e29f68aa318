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
