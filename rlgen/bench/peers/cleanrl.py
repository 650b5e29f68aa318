"""CleanRL's own scripts, unmodified, as a contender: `rlgen bench --cleanrl DIR`, with a checkout of vwxyzjn/cleanrl.

A script runs in a process of its own, in this Python. Its clock is read where it prints `SPS:` (see `script.py`).
"""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import rlgen
from rlgen.bench.measure import Block, Costs, Took, per
from rlgen.bench.peers.worker import Worker
from rlgen.bench.works import Maker, Work
from rlgen.errors import MissingExtraError, UsageError

SCRIPTS = {"dqn-1env": "dqn.py", "dqn-every-step": "dqn.py", "ppo-4env": "ppo.py", "ppo-64env": "ppo.py"}  # by work
PACKAGES = {"stable_baselines3": "stable-baselines3", "cv2": "opencv-python"}  # where pip has another name


def makers(folder: str, works: list[str]) -> dict[str, Maker]:
    """What does those of the works that CleanRL has a script for, by name of the work.

    Args:
        folder: the checkout.
        works: names of works that are going to be timed.

    Raises:
        UsageError: the folder is no such checkout, or CleanRL does none of the works.
        MissingExtraError: a script imports what is not installed.
    """
    scripts = {name: Path(folder, "cleanrl", SCRIPTS[name]).resolve() for name in works if name in SCRIPTS}
    if not scripts:
        raise UsageError(f"--cleanrl {folder}: CleanRL does none of {', '.join(works)}; it does {', '.join(SCRIPTS)}")
    missing: dict[str, None] = {}
    for path in scripts.values():
        if not path.is_file():
            raise UsageError(
                f"--cleanrl {folder}: there is no cleanrl/{path.name} in it; git clone "
                "https://github.com/vwxyzjn/cleanrl makes a checkout"
            )
        try:
            missing |= dict.fromkeys(name for name in imports(path) if not is_installed(name))
        except (OSError, SyntaxError, ValueError) as error:
            raise UsageError(f"--cleanrl {folder}: cannot read {path.name} and what it imports: {error}") from None
    if missing:
        packages = [PACKAGES.get(name, name) for name in missing]
        raise MissingExtraError(f"--cleanrl {folder}: its scripts import {', '.join(missing)}", *packages)
    return {name: partial(train, path) for name, path in scripts.items()}


def imports(script: Path) -> list[str]:
    """The packages that a script of a checkout must have, and those that the checkout's own modules must have."""
    packages, files = [], [script]
    for path in files:  # which grow
        for node in ast.parse(path.read_bytes()).body:  # what is imported further in, it may do without
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for module in modules:
                if own_files(script, module.partition(".")[0]):
                    files += [file for file in own_files(script, module) if file not in files]
                else:  # torch asks for tensorboard when it is imported, and no sooner
                    needs_board = module == "torch.utils.tensorboard"
                    packages.append("tensorboard" if needs_board else module.partition(".")[0])
    return packages


def own_files(script: Path, module: str) -> list[Path]:
    """The file of a module of the script's checkout, if there is one."""
    place = script.parents[1].joinpath(*module.split("."))
    return [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]


def commit(folder: str) -> str:
    """Of the checkout, with `-dirty` where its files were changed; as far as git can tell."""
    if not Path(folder, ".git").exists() or shutil.which("git") is None:
        return "of an unknown commit"
    argv = ["git", "-C", folder, "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip() or "of an unknown commit"


def is_installed(name: str) -> bool:
    """Whether this Python has the package."""
    return importlib.util.find_spec(name) is not None


def flags(config: dict[str, Any]) -> list[str]:
    """The work's hyperparameters in CleanRL's words.

    Its DQN has no flag for the sizes of its layers, 120 and 84, nor its PPO for two of 64: the works have the same.
    """
    num = config["num_envs"]
    given: dict[str, Any] = {"env-id": config["env_id"], "seed": config["seed"], "total-timesteps": config["steps"]}
    given |= {"num-envs": num, "learning-rate": config["lr"], "gamma": config["gamma"]}
    switches = {"cuda": config["device"] != "cpu"}
    if "train_every" in config:
        given |= {"buffer-size": config["buffer_size"], "batch-size": config["batch_size"], "tau": config["tau"]}
        given |= {"learning-starts": config["learning_starts"], "train-frequency": config["train_every"]}
        given |= {"target-network-frequency": config["target_every"], "start-e": config["epsilon_start"]}
        given |= {"end-e": config["epsilon_end"], "exploration-fraction": config["exploration_fraction"]}
    else:
        given |= {"num-steps": config["rollout_steps"] // num, "update-epochs": config["num_epochs"]}
        given |= {"num-minibatches": config["rollout_steps"] // config["batch_size"]}
        given |= {"gae-lambda": config["gae_lambda"], "clip-coef": config["clip_coef"]}
        given |= {"ent-coef": config["entropy_coef"], "vf-coef": config["value_coef"]}
        given |= {"max-grad-norm": config["max_grad_norm"]}
        switches |= {"anneal-lr": config["anneal_lr"], "norm-adv": True, "clip-vloss": False}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return [*words, *(f"--{name}" if on else f"--no-{name}" for name, on in switches.items())]


class Script:
    """A script in its process.

    Args:
        path: of the script.
        config: of the work.
        folder: where it runs, and leaves its own logs.
    """

    def __init__(self, path: Path, config: dict[str, Any], folder: str) -> None:
        self.path = path
        updates = config["num_epochs"] / config["batch_size"] if "num_epochs" in config else 1 / config["train_every"]
        self.updates_per_step = updates
        argv = ["-m", "rlgen.bench.peers.script", str(path), *flags(config)]
        roots = [path.parents[1], Path(rlgen.__file__).resolve().parents[1]]
        self.worker = Worker(argv, roots, config["threads"], folder)
        self.start()

    def start(self) -> None:
        """Start it anew, and wait until it has begun to learn.

        Raises:
            RuntimeError: it ended before; with the last line that it said.
        """
        self.worker.start()
        if self.worker.read() is None:
            raise RuntimeError(f"{self.path.name} ended before it learned: {self.worker.last_words()}")

    def __call__(self, seconds: float) -> Costs:
        """A block, to its next report. A script that has ended begins again: it came to its last step, or failed."""
        answer = self.worker.ask(seconds)
        if answer is None:
            self.start()
            answer = self.worker.ask(seconds)
        if answer is None:
            raise RuntimeError(f"{self.path.name} ended between two reports: {self.worker.last_words()}")
        steps, wall, cpu = answer
        return per(Took(wall, cpu), env_step=steps, update=steps * self.updates_per_step)

    def close(self) -> None:
        """End the process."""
        self.worker.close()


def train(path: Path, config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """The script with the work's hyperparameters."""
    script = Script(path, config, stack.enter_context(tempfile.TemporaryDirectory()))
    stack.callback(script.close)
    return script
