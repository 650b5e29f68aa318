"""`rlgen bench`: what training costs on this machine, ours and installed peers' in turn, in one process.

A work is a `rlgen train` command line, a contender something that does it: a function that works for some seconds and
says what one unit took. Training is timed by the run's own three nouns, as the loop turns them.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fnmatch import fnmatch as matches
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlgen import experiment
from rlgen.bench import text as texts
from rlgen.core.buffer import Buffer
from rlgen.core.source import ImageSource
from rlgen.data.images import ImageData
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.options import algorithms as registry
from rlgen.options import config as configs
from rlgen.options.flags import parse
from rlgen.speed.device import few_collections, pick_device

Costs = dict[str, float]  # "us per env step", "bytes": the less the better
Block = Callable[[float], Costs]  # work for so many seconds

Q_CARTPOLE = (  # CleanRL's dqn.py; epsilon stands still, as its cost depends on it
    "dqn --env CartPole-v1 --steps 500000 --hidden 120 84 --batch-size 128 --buffer-size 10000 --learning-starts 1000 "
    "--target-every 500 --epsilon-start 0.05 --epsilon-end 0.05"
)
PG_CARTPOLE = "ppo --env CartPole-v1 --steps 500000 --hidden 64 64 --batch-size 128 --num-epochs 4"  # its ppo.py
IMAGE_PLAYER = "dqn --env CartPole-v1 --hidden 512 --batch-size 32"


@dataclass(frozen=True)
class Work:
    """Something to time: a command line of `rlgen train`, and what it runs on."""

    command: str
    kind: str  # env, image, update, replay, start or memory: the function that makes ours
    shape: tuple[int, ...] = ()  # of synthetic images or observations


WORKS = {
    "dqn-1env": Work(f"{Q_CARTPOLE} --train-every 10", "env"),
    "dqn-64env": Work(f"{Q_CARTPOLE} --train-every 10 --num-envs 64 --vectorization native", "env"),
    "dqn-every-step": Work(f"{Q_CARTPOLE} --train-every 1", "env"),
    "double-64env": Work(f"double_{Q_CARTPOLE} --train-every 10 --num-envs 64 --vectorization native", "env"),
    "reinforce-64env": Work("reinforce --env CartPole-v1 --num-envs 64 --vectorization native --steps 500000", "env"),
    "ppo-4env": Work(f"{PG_CARTPOLE} --num-envs 4 --rollout-steps 512", "env"),
    "ppo-64env": Work(f"{PG_CARTPOLE} --num-envs 64 --vectorization native --rollout-steps 8192", "env"),
    "replay": Work(IMAGE_PLAYER, "replay", (4, 84, 84)),
    "atari-update": Work(IMAGE_PLAYER, "update", (4, 84, 84)),
    "vae-mlp": Work("vae --hidden 400 --latent 20 --batch-size 128", "image", (1, 28, 28)),
    "gan-r1": Work("gan --width 64 --batch-size 64", "image", (3, 32, 32)),
    "gan-no-r1": Work("gan --width 64 --batch-size 64 --r1-gamma 0", "image", (3, 32, 32)),
    "start": Work(f"{Q_CARTPOLE} --train-every 10", "start"),
    "memory": Work(f"{Q_CARTPOLE} --train-every 10", "memory"),
}
AXES = ("envs", "batch", "fill", "seeds")  # of `--scale`
REPLAY_SIZE, REPLAY_ENVS, REPLAY_WARM = 100_000, 8, 20_000  # capacity, transitions in a row, filled before timing


class Report(dict[str, Any]):
    """What was measured, as JSON has it; `text` is what people read."""

    def text(self) -> str:
        return texts.text(self)


def bench(
    only: str = "",
    blocks: int = 5,
    seconds: float = 0.4,
    device: str = "auto",
    threads: int = 1,
    peers: bool = False,
    profile: bool = False,
    scale: bool = False,
    out: str | None = None,
    command: str = "rlgen bench",
) -> Report:
    """Time the works, or with `profile` split their steps into parts, or with `scale` let them grow.

    Args:
        only: names of works, or of axes with `scale`: parts of names or globs, with commas; "" is all.
        blocks: measurements of each contender, taken in turn.
        seconds: of a block; each contender warms up for one more, at least.
        device: auto, cpu or cuda.
        threads: of torch, for every contender.
        peers: time installed peers too.
        profile: where the time of a step goes.
        scale: cost over the number of environments, batch size, buffer fill and seeds.
        out: PNG of the scaling.
        command: what the user typed.

    Raises:
        UsageError: `only` names nothing there is.
    """
    if profile and scale:
        raise UsageError("--profile and --scale: one at a time")
    if out is not None and (not scale or Path(out).suffix != ".png" or not Path(out).parent.is_dir()):
        raise UsageError(f"--out {out}: a .png in a directory that exists, with --scale")
    stepped = [name for name, work in WORKS.items() if work.kind in ("env", "image")]
    names = list(AXES) if scale else stepped if profile else list(WORKS)
    chosen = select(only or ("dqn-1env,ppo-4env" if profile else ""), names)
    where = {"device": str(pick_device(device)), "threads": threads}
    report = Report(
        command=command,
        versions=texts.versions(),
        machine=texts.machine() | where,
        method={
            "blocks": blocks,
            "seconds_per_block": seconds,
            "warm_up": f"one block and an update, or {REPLAY_WARM:,} transitions in a replay buffer, are not timed",
        },
    )
    if profile:
        from rlgen.bench import profiling

        report["profile"] = {name: profiling.split(name, where, seconds * blocks) for name in chosen}
    elif scale:
        from rlgen.bench import profiling

        report["scale"] = [point for axis in chosen for point in profiling.SCALES[axis](where, seconds)]
        if out and report["scale"]:
            texts.draw(report, out)
    else:
        report["results"], report["not_installed"], report["skipped"] = [], {}, {}
        for name in chosen:
            _time(name, report, where, blocks, seconds, peers)
    return report


def select(only: str, names: list[str]) -> list[str]:
    """The names that a list of parts or globs stands for, in their own order."""
    words = [word.strip() for word in only.split(",") if word.strip()]
    for word in words:
        if not any(matches(name, _glob(word, names)) for name in names):
            raise UsageError(f"--only {word}: matches none of {', '.join(names)}")
    return [name for name in names if not words or any(matches(name, _glob(word, names)) for word in words)]


def _glob(word: str, names: list[str]) -> str:
    return word if word in names else f"*{word}*"


def configure(name: str, **options: Any) -> dict[str, Any]:
    """The flat configuration of a work: its command line, no preset, and `options` above it."""
    algo, *argv = shlex.split(WORKS[name].command)
    given = parse(f"train {algo}", configs.options(registry.find(algo)), argv, "")
    fixed = {"no_preset": True, "wandb": "disabled", "device": "cpu", "threads": 1}
    return configs.resolve(algo, fixed | given | options).config


def _time(name: str, report: Report, where: dict[str, Any], blocks: int, seconds: float, peers: bool) -> None:
    """All contenders of a work in turn, block by block; adds a row for each to `report["results"]`."""
    work, config = WORKS[name], configure(name, **where)
    with ExitStack() as stack:
        contenders = {"rlgen": OURS[work.kind](config, work, stack)}
        if peers:
            from rlgen.bench import peers as others

            found, missing, failed = others.contenders(name, config, work, stack)
            contenders |= found
            report["not_installed"] |= missing
            report["skipped"] |= {f"{name}: {peer}": why for peer, why in failed.items()}
        costs: dict[str, list[Costs]] = {contender: [] for contender in contenders}
        stack.enter_context(few_collections())  # as in training; for all of them
        if work.kind in ("start", "memory"):
            blocks = min(blocks, 3)  # seconds each
        for block in range(-1, blocks):
            for contender in list(contenders):
                note(f"{name} {contender} {max(block, 0) + 1}/{blocks}")
                torch.set_num_threads(config["threads"])
                try:
                    cost = contenders[contender](seconds if block >= 0 or work.kind != "start" else 0.0)
                except Exception as error:
                    if contender == "rlgen":
                        raise
                    report["skipped"][f"{name}: {contender}"] = f"{type(error).__name__}: {error}"
                    del contenders[contender], costs[contender]
                    continue
                if block >= 0:
                    costs[contender].append(cost)
        own = costs["rlgen"]
        for contender, taken in costs.items():
            units = [unit for unit in taken[0] if all(unit in cost for cost in taken)]
            shared = [unit for unit in units if contender != "rlgen" and all(unit in cost for cost in own)]
            row: dict[str, Any] = {"work": name, "command": f"rlgen train {work.command}", "contender": contender}
            row["measures"] = {unit: spread([cost[unit] for cost in taken]) for unit in units}
            row["ratio"] = {
                unit: spread([cost[unit] / ours[unit] for cost, ours in zip(taken, own, strict=True)])
                for unit in shared
            }
            report["results"].append(row)


def note(text: str) -> None:
    """What is being measured now, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="\033[K\r", file=sys.stderr, flush=True)


def spread(values: list[float]) -> dict[str, Any]:
    """Smallest, median and largest of the blocks, and the blocks."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "blocks": values}


def repeat(seconds: float, step: Callable[[], int], device: str) -> tuple[int, float]:
    """Call `step` for so long, at least once: (the sum of what it returned, in seconds that were really taken)."""
    count, begin = 0, time.perf_counter()
    while not count or time.perf_counter() - begin < seconds:
        count += step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return count, time.perf_counter() - begin


def per(took: float, **counts: float) -> Costs:
    """Microseconds for one of each: `per(2.0, env_step=1000)`; what did not happen is left out."""
    return {f"us per {unit.replace('_', ' ')}": 1e6 * took / count for unit, count in counts.items() if count}


class Trainer:
    """The three nouns of a run and the loop's body: `step` is one turn of it."""

    def __init__(self, config: dict[str, Any], work: Work, stack: ExitStack) -> None:
        self.config, self.unit, self.taken = config, work.kind.replace("env", "env_step"), 0
        if work.kind == "image":
            self.source: Any = ImageSource(images(work.shape), pick_device(config["device"]))
        else:
            self.source = experiment.build_source(config)
        stack.enter_context(closing(self.source))
        self.learner = experiment.build_learner(config, self.source.spec)
        self.buffer = self.learner.make_buffer()

    def step(self) -> int:
        self.learner.progress = min(1.0, self.taken / self.config["steps"])
        ticks = self.source.fill(self.buffer, self.learner)
        for batch in self.learner.batches(self.buffer):
            self.learner.update(batch)
        self.taken += ticks
        return ticks

    def __call__(self, seconds: float) -> Costs:
        """A block; the first one goes on until something was learned."""
        while not self.learner.num_updates:
            self.step()
        before = self.learner.num_updates
        count, took = repeat(seconds, self.step, self.config["device"])
        return per(took, **{self.unit: count, "update": self.learner.num_updates - before})


def images(shape: tuple[int, ...], num: int = 10_000) -> ImageData:
    """Images of noise."""
    train_images = np.random.default_rng(0).integers(0, 256, (num, *shape), dtype=np.uint8)
    return ImageData("noise", train_images, train_images[:100], None, None, None, "synthetic", {})


def _update(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """Updates of a learner from images, on one batch that is already on the device."""
    learner = experiment.build_learner(config, EnvSpec("synthetic", work.shape, "uint8", 6, (), (), (), 1))
    batch = random_batch(config["batch_size"], work.shape, learner.device)

    def step() -> int:
        learner.update(batch)
        return 1

    return lambda seconds: per((found := repeat(seconds, step, config["device"]))[1], update=found[0])


def random_batch(size: int, shape: tuple[int, ...], device: torch.device | str) -> dict[str, torch.Tensor]:
    """Transitions between images of noise, as a buffer samples them."""
    with torch.device(device):
        obs, next_obs = torch.randint(256, (2, size, *shape), dtype=torch.uint8)  # [B, C, H, W] both
        reward, discount = torch.randn(size), torch.full((size,), 0.99)  # [B] both
        return {"obs": obs, "action": torch.randint(6, (size,)), "reward": reward, "discount": discount} | {
            "next_obs": next_obs
        }


def stacks(shape: tuple[int, ...], device: str) -> Iterator[torch.Tensor]:
    """Observations of `REPLAY_ENVS` endless episodes, each the last frames of noise that repeats: [N, 4, 84, 84]."""
    frames = torch.randint(256, (REPLAY_ENVS, 64, *shape[1:]), dtype=torch.uint8)
    ready = [frames.roll(-t, 1)[:, : shape[0]].contiguous().to(device) for t in range(64)]
    while True:
        yield from ready


def _replay(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """Our buffer alone, which keeps each frame once."""
    generator = torch.Generator(config["device"]).manual_seed(0)
    buffer = Buffer(REPLAY_SIZE, frame_stack=work.shape[0], generator=generator)
    rows, no = stacks(work.shape, config["device"]), torch.zeros(REPLAY_ENVS, dtype=torch.bool)
    obs = next(rows)
    action, reward = torch.zeros(REPLAY_ENVS, dtype=torch.int64), torch.zeros(REPLAY_ENVS)

    def insert() -> int:
        nonlocal obs
        items = {"obs": obs, "action": action, "reward": reward, "next_obs": next(rows)}
        buffer.add(items | {"terminated": no, "truncated": no})
        obs = items["next_obs"]
        return REPLAY_ENVS

    def sample() -> int:
        buffer.sample(config["batch_size"])
        return 1

    return replay_block(insert, sample, lambda: buffer.nbytes, config["device"])


def replay_block(insert: Callable[[], int], sample: Callable[[], int], nbytes: Callable[[], float], on: str) -> Block:
    """Fill a little once, then insert for half of a block and sample for the other."""
    for _ in range(REPLAY_WARM // REPLAY_ENVS):
        insert()

    def block(seconds: float) -> Costs:
        count, took = repeat(seconds / 2, insert, on)
        costs = per(took, insert=count)
        count, took = repeat(seconds / 2, sample, on)
        return costs | per(took, sample=count) | {"bytes": nbytes()}

    return block


def _start(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """Processes of their own: the help page, and everything from the interpreter to the first step."""

    def block(seconds: float) -> Costs:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rlgen", "--help"], check=True, capture_output=True)
        middle = time.perf_counter()
        child(config, 1)
        return {"s per help page": middle - begin, "s per first step": time.perf_counter() - middle}

    return block


def _memory(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """A process of its own that trains until its buffer is full."""
    return lambda seconds: {"bytes": float(child(config, config["buffer_size"] + 1_000))}


OURS: dict[str, Callable[[dict[str, Any], Work, ExitStack], Block]] = {
    "env": Trainer,
    "image": Trainer,
    "update": _update,
    "replay": _replay,
    "start": _start,
    "memory": _memory,
}


def child(config: dict[str, Any], steps: int) -> int:
    """Train for so many steps in a new process; returns its peak memory in bytes."""
    argv = [sys.executable, "-m", "rlgen.bench", json.dumps(config), str(steps)]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def train_apart(config: dict[str, Any], steps: int) -> None:
    """What `child` runs in its process; prints the peak memory."""
    with ExitStack() as stack:
        trainer = Trainer(config, WORKS["memory"], stack)
        while trainer.taken < steps:
            trainer.step()
        print(resident("VmHWM"))


def resident(field: str = "VmRSS") -> int:
    """Memory of this process in bytes, now (VmRSS) or at most (VmHWM); what the parent used does not count."""
    try:
        text = Path("/proc/self/status").read_text()
        return 1024 * int(text.partition(f"{field}:")[2].split()[0])
    except (OSError, IndexError):  # not Linux
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)
