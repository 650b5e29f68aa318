"""The verdicts on runs, judged as a detector is: runs with a planted failure and runs without, and what is said."""

from __future__ import annotations

import contextlib
import json
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from rlgen import experiment
from rlgen.errors import DivergedError
from rlgen.options.algorithms import find
from rlgen.options.config import options, resolve
from rlgen.options.flags import parse
from rlgen.runs.health import LEVELS, REASON
from rlgen.runs.rows import HEALTH, texts

HEALTHY = "healthy"
SEEDS = range(5)  # those that limits were chosen on are others
CARTPOLE = "--env CartPole-v1 --eval-episodes 5"
NATIVE = f"{CARTPOLE} --num-envs 8 --vectorization native"
DQN_RUN = f"{NATIVE} --steps 8000 --hidden 64 64 --batch-size 64 --train-every 8 --learning-starts 250"
GOOD = f"{DQN_RUN} --lr 2e-3 --target-every 200 --exploration-fraction 0.1"
PQN_RUN = f"{NATIVE} --steps 100000 --rollout-steps 2048 --batch-size 256 --num-epochs 4 --hidden 64 64"
GREEDY = "--eval-episodes 5 --num-envs 8"
PPO_RUN = f"{NATIVE} --rollout-steps 512 --batch-size 64 --num-epochs 4"
VAE_RUN = "--data digits --hidden 128 --latent 16 --nll-samples 10 --batch-size 64"
GAN_RUN = "--data digits --width 8 --num-hidden 64 --latent 16 --batch-size 32"
FREE = "--loss wasserstein --r1-gamma 0 --gp-weight 1e-6"  # logits without a bound


@dataclass(frozen=True)
class Case:
    """A run that fails, or does not.

    Args:
        fault: what is planted; healthy where nothing is.
        command: after `rlgen train`.
    """

    fault: str
    command: str


CASES = (
    Case("values diverge", f"dqn {DQN_RUN} --lr 0.03 --target-every 8 --max-grad-norm 1e9 --gamma 0.999"),
    Case("gradients blow up", f"gan {GAN_RUN} --steps 12000 {FREE} --d-lr 0.02 --g-lr 0.02 --beta1 0.5"),
    Case("policy collapse", f"ppo {PPO_RUN} --steps 20000 --lr 0.2"),
    Case("policy collapse", f"reinforce {NATIVE} --steps 40000 --lr 0.3"),
    Case("weights blow up", f"gan {GAN_RUN} --steps 12000 --d-lr 3 --g-lr 3"),
    Case("not finite", f"vae {VAE_RUN} --steps 30000 --lr 1"),
    Case("dead units", f"dqn {DQN_RUN} --lr 1"),
    Case("posterior collapse", f"vae {VAE_RUN} --steps 60000 --lr 0.05"),
    Case("mode collapse", f"gan {GAN_RUN} --steps 12000 --r1-gamma 0 --g-lr 0.01 --d-lr 1e-4"),
    Case("saturation", f"gan {GAN_RUN} --steps 12000 --r1-gamma 0 --g-lr 1e-5 --d-lr 5e-3"),
    Case("plateau", f"ppo {PPO_RUN} --steps 20000 --lr 1e-9"),
    Case("greedy fails", f"reinforce --env rlgen.bench.corridor:Corridor {GREEDY} --steps 40000 --lr 3e-3"),
    Case(HEALTHY, f"dqn {GOOD} --n-step 10"),
    Case(HEALTHY, f"double_dqn {GOOD} --n-step 5"),
    Case(HEALTHY, f"c51 {GOOD} --n-step 3 --num-atoms 21"),
    Case(HEALTHY, f"qr_dqn {GOOD} --n-step 5 --num-quantiles 10"),
    Case(HEALTHY, f"munchausen_dqn {GOOD} --n-step 5"),
    Case(HEALTHY, f"pqn {PQN_RUN} --lr 1e-3 --q-lambda 0.95 --exploration-fraction 0.3"),
    Case(HEALTHY, f"ppo {PPO_RUN} --steps 20000 --lr 1e-3"),
    Case(HEALTHY, f"ppo {PPO_RUN} --steps 20000 --lr 3e-3 --entropy-coef 0.01"),
    Case(HEALTHY, f"reinforce {NATIVE} --steps 60000 --lr 5e-3"),
    Case(HEALTHY, f"vae {VAE_RUN} --steps 60000"),
    Case(HEALTHY, f"vae {VAE_RUN} --steps 60000 --latent 4 --lr 5e-4"),
    Case(HEALTHY, f"gan {GAN_RUN} --steps 12000"),
)


NAMES = [f"{case.fault.replace(' ', '-')}-{case.command.partition(' ')[0]}" for case in CASES]


def judge(names: Sequence[str] = tuple(NAMES), seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Train every case with every seed, and count what was said.

    Args:
        names: of the cases.
        seeds: of the runs.

    Returns:
        `runs`, what `run` says of each, and `recall`, `false alarms` and `median detection` of them all.
    """
    cases = [case for name, case in zip(NAMES, CASES, strict=True) if name in names]
    runs = [run(case, seed) for case in cases for seed in seeds]
    return {"runs": runs} | summary(runs)


def run(case: Case, seed: int) -> dict[str, Any]:
    """Train one case.

    Returns:
        `fault`, `command`, `seed`; `said`, the first reason, None where the run was healthy all through; `at`, the
        share of the run before that; `last`, the verdict in the end; `score`, the last; `seconds` of CPU time.
    """
    begin = process_time()
    algo, *argv = shlex.split(case.command)
    with tempfile.TemporaryDirectory(prefix="rlgen-health-") as folder:
        own = {"seed": seed, "runs_dir": folder, "name": "run", "wandb": "disabled", "device": "cpu", "threads": 1}
        given = parse(f"train {algo}", options(find(algo)), argv, "")
        config = resolve(algo, given | own | {"compile": "never", "no_preset": True}).config
        with contextlib.suppress(DivergedError):
            experiment.start(config, quiet=True)
        lines = (Path(folder) / "run/metrics.jsonl").read_bytes().splitlines(keepends=True)
    rows = [json.loads(line) | texts(line) for line in lines]
    first = next((row for row in rows if row.get(HEALTH, HEALTHY) != HEALTHY), None)
    verdicts = [row[HEALTH] for row in rows if HEALTH in row]
    scores = [row[name] for row in rows for name in row if name in ("eval/episodic_return", "eval/elbo")]
    return {
        "fault": case.fault,
        "command": f"{case.command} --seed {seed}",
        "seed": seed,
        "said": first and first[REASON],
        "at": first and round(min(1.0, first["step"] / config["steps"]), 3),
        "last": verdicts[-1] if verdicts else LEVELS[0],
        "seconds": round(process_time() - begin, 1),
        "score": scores[-1] if scores else None,
    }


def wilson(hits: int, num: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    middle, share = z * z / num, hits / num
    half = z * sqrt(share * (1 - share) / num + middle / (4 * num))
    return tuple((share + middle / 2 + sign * half) / (1 + middle) for sign in (-1, 1))  # type: ignore[return-value]


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Recall, false alarms and the median share of a run before the first word, of what `run` returns."""
    result: dict[str, Any] = {}
    for name, group in (
        ("recall", [each for each in found if each["fault"] != HEALTHY]),
        ("false alarms", [each for each in found if each["fault"] == HEALTHY]),
    ):
        if group:
            hits = [each for each in group if each["said"]]
            result[name] = {"hits": len(hits), "of": len(group), "interval": wilson(len(hits), len(group))}
            if hits and name == "recall":
                result["median detection"] = median(each["at"] for each in hits)
    return result
