"""Run directories as training leaves them, without training: config.json, metrics.jsonl, summary.json, samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

AGENT = {"env_id": "CartPole-v1", "num_envs": 1, "eval_episodes": 10, "lr": 5e-4, "gamma": 0.99, "double": False}
MODEL = {"data": "digits", "data_dir": None, "lr": 2e-3, "latent": 40, "nll_samples": 500}


def make_run(
    runs_dir: Path,
    algo: str,
    seed: int,
    final: float = 400.0,
    steps: int = 50_000,
    reached: int | None = None,
    status: str | None = "finished",
    rows: int = 40,
    evals: int = 10,
    speed: float = 4_000.0,
    bias: float = 0.0,
    extra: dict[str, float] | None = None,
    last: dict[str, float] | None = None,
    curve: Any = None,
    **options: Any,
) -> Path:
    """One run of `algo` whose score climbs to `final`; an agent unless `data` is among the options.

    Args:
        runs_dir: made if missing.
        algo: any name.
        seed: also of the noise.
        final: last evaluation.
        steps: budget.
        reached: where it stopped, the budget by default.
        status: of summary.json; None leaves the summary out, as a kill does.
        rows: training rows over the budget.
        evals: evaluations over the budget.
        speed: steps a second.
        bias: what the agent's estimate exceeds the obtained value by.
        extra: more metrics of every evaluation.
        last: more metrics of the evaluation at the end of the budget.
        curve: value at a share of the budget, instead of a climb to `final`.
        **options: of the configuration.
    """
    model = "data" in options
    target = options.get("data") if model else options.get("env_id", AGENT["env_id"])
    path = runs_dir / f"{Path(str(target)).name}__{algo}__{seed}"
    number = 2
    while path.exists():
        path, number = path.with_name(f"{path.name.split('--')[0]}--{number}"), number + 1
    path.mkdir(parents=True)
    config = {"algo": algo, "exp_name": algo, "seed": seed, "steps": steps, "name": None, "device": "cpu", "threads": 1}
    config |= {"log_every": steps // rows, "eval_every": steps // evals} | (MODEL if model else AGENT) | options
    info = {
        "config": config,
        "command": f"rlgen train {algo} {'--data' if model else '--env'} {target} --seed {seed}",
        "created": f"2026-01-01T00:{seed % 60:02}:00+0000",
        "rlgen_version": "0.1.0",
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"python": "3.11.2", "torch": "2.13.0", "gymnasium": "1.4.0", "numpy": "2.4.6"},
        "hardware": {"host": "laboratory", "platform": "Linux", "cpu_cores": 8, "gpus": []},
    }
    (path / "config.json").write_text(json.dumps(info))
    rng = np.random.default_rng([seed, *algo.encode()])
    reached = steps if reached is None else reached
    worst = 140.0 if model else 20.0

    def value(share: float) -> float:
        return float(curve(share)) if curve else worst + (final - worst) * (1 - np.exp(-5 * share)) / (1 - np.exp(-5))

    lines = []
    for row in range(1, rows + 1):
        step = steps * row // rows
        if step > reached:
            break
        now: dict[str, Any] = {"step": step, "time": round(step / speed, 3)}
        train = {"losses/elbo": -value(step / steps)} if model else {"losses/td_loss": 0.01}
        train |= {} if model else {"charts/episodic_return": value(step / steps) + rng.normal(0, 15)}
        lines.append(now | {"charts/SPS": speed} | train)
        if step * evals // steps > steps * (row - 1) // rows * evals // steps:
            score = value(step / steps) + (0 if step == steps else rng.normal(0, 3 if model else 12))
            scores = {"eval/nll": score, "eval/elbo": -score - 3.0} if model else {"eval/episodic_return": score}
            if not model:
                gap = bias * step / steps
                scores |= {"eval/episodic_return_std": 9.0, "eval/episodic_length": score}
                scores |= {"eval/q_estimate": score / 6 + gap, "eval/q_realised": score / 6}
            lines.append(now | scores | (extra or {}) | ((last or {}) if step == steps else {}))
    if status == "diverged":
        lines.append({"step": reached, "time": round(reached / speed, 3), "losses/td_loss": "NaN"})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if status:
        summary = {"name": path.name, "status": status, "step": reached, "steps": steps, "time": reached / speed}
        (path / "summary.json").write_text(json.dumps(summary))
    if model:
        (path / "samples").mkdir()
        tiles = (rng.random((16, 16)) > 0.5).astype(np.uint8) * 255
        Image.fromarray(np.kron(tiles, np.ones((8, 8), np.uint8))).save(path / "samples" / f"grid_{reached:09d}.png")
    return path


def benchmark(num_runs: int, num_rows: int) -> None:
    """Time and memory of comparing `num_runs` runs of `num_rows` rows each, 100 evaluations among them."""
    import resource
    import tempfile
    import time

    from rlgen.compare.collect import collect
    from rlgen.compare.comparison import compare

    with tempfile.TemporaryDirectory() as folder:
        runs_dir, steps = Path(folder), 10 * num_rows
        first = make_run(runs_dir, "dqn", 0, steps=steps, rows=num_rows, evals=100)
        filler = b', "losses/q_values": 12.345678901234567, "charts/episodic_length": 123.45678901234567}\n'
        text = (first / "metrics.jsonl").read_bytes().replace(b"}\n", filler)
        for seed in range(num_runs):
            path = make_run(runs_dir, ("dqn", "ppo")[seed % 2], seed + 1, steps=steps, rows=1, evals=1)
            (path / "metrics.jsonl").write_bytes(text)
        size = num_runs * len(text) / 1e9
        for metric in ("eval/episodic_return", "charts/episodic_return"):
            begin = time.perf_counter()
            compare(collect(["*__dqn__*", "*__ppo__*"], runs_dir=folder), metric)
            seconds = time.perf_counter() - begin
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{metric}: {num_runs} runs, {size:.2f} GB, {seconds:.1f} s, at most {memory:.2f} GiB of memory")


if __name__ == "__main__":
    import sys

    benchmark(*(int(word) for word in sys.argv[1:3] or ("200", "100000")))


def change(path: Path, **entries: object) -> None:
    """Other entries for a run's config.json."""
    info = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(info | entries))


def without_likelihood(path: Path) -> Path:
    """What a GAN reports: no likelihood."""
    rows = (path / "metrics.jsonl").read_text()
    for name in ("eval/nll", "eval/elbo", "losses/elbo"):
        rows = rows.replace(name, name.replace("l", "x"))
    (path / "metrics.jsonl").write_text(rows)
    return path
