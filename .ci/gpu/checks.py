"""The parts of the check. Each is a function without arguments that prints what it finds, a row a case."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import adam
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

LIMITS = {  # seconds of each part, in order of what must not be lost: less than 475 in all
    "machine": 10,
    "tests": 55,
    "micro": 30,
    "acting": 14,
    "fused": 58,
    "atari_dqn": 54,
    "atari_ppo": 44,
    "learn": 52,
    "seeds": 34,
    "bench": 32,
    "resume": 80,
}
AFTER_TORCH = len(os.sched_getaffinity(0))  # cores; fewer than before where OMP_PROC_BIND is set
SCALE = float(os.environ.get("CHECK_SCALE", "1"))  # of all durations; below 1 the script is only tried
IS_TRIAL = SCALE < 1
DEVICE = "cuda"
MARK = "@pytest.mark.gpu\n"  # of a test
ROW = '{"part": '  # how a row begins on the part's output
ATARI = {"env": "ALE/Breakout-v5", "vectorization": "native", "hidden": (512,), "steps": 10_000_000}
ATARI["compile"] = "never"  # it would take as long as the part
WARM_UPDATES = 15  # graphs are captured at the 4th, and compared with eager steps at their 1st and 10th replay


def has_gpu() -> bool:
    """Whether there is something to check."""
    return torch.cuda.is_available()


def say(part: str, **row: Any) -> None:
    """Print a row, as strict JSON."""
    for name, value in row.items():
        if isinstance(value, float):
            row[name] = round(value, 3) if math.isfinite(value) else str(value)
    print(json.dumps({"part": part, **row}), flush=True)


@contextmanager
def case(part: str, **names: Any) -> Iterator[None]:
    """One case of a part: its failure is a row, and the next case goes on."""
    try:
        yield
    except Exception as error:
        say(part, **names, error=f"{type(error).__name__}: {error}"[:300])


def configure(algo: str, **options: Any) -> dict[str, Any]:
    """A run's flat configuration, on the GPU and without a preset."""
    from rlgen.options.config import resolve

    return resolve(algo, {"device": DEVICE, "wandb": "disabled", "threads": 1, "no_preset": True} | options).config


def train(learner: Any, source: Any, buffer: Any, seconds: float) -> dict[str, float]:
    """Whole turns of the loop for so long; environment steps and updates a second. The GPU is waited for once."""
    from rlgen.core.loop import turn

    torch.cuda.synchronize()
    begin, steps, updates = time.perf_counter(), 0, learner.num_updates
    while not steps or time.perf_counter() - begin < seconds:
        steps += turn(learner, source, buffer, lambda metrics: None)
    torch.cuda.synchronize()
    took = time.perf_counter() - begin
    rates = {"steps_per_s": steps / took, "updates_per_s": (learner.num_updates - updates) / took}
    return rates | {"seconds": took}


def refused(learner: Any) -> dict[str, str]:
    """Losses whose steps could not be recorded, and why."""
    return learner.executor.refused


def gpu_gib() -> float:
    """The most memory that tensors have taken so far."""
    return torch.cuda.max_memory_allocated() / 2**30


def machine() -> None:
    """What the figures are of."""
    subprocess.run("nvidia-smi", shell=True, check=False)  # for the log, where there is this command
    properties = torch.cuda.get_device_properties(0)
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]}
    say("machine", gpu=properties.name, memory_gib=properties.total_memory / 2**30, **versions)
    settings = {name: value for name, value in os.environ.items() if name.startswith(("OMP", "KMP", "GOMP", "MKL"))}
    settings["load"] = str(os.getloadavg()[0])
    say("machine", cores=os.cpu_count(), usable=len(os.sched_getaffinity(0)), after_torch=AFTER_TORCH, **settings)


def tests() -> None:
    """The tests that are marked `gpu`; other files may need what is not installed here."""
    files = [str(path) for path in sorted(Path("tests").rglob("test_*.py")) if MARK in path.read_text(encoding="utf-8")]
    options = ["-q", "--no-header", "-p", "no:cacheprovider", "--durations=8", "--tb=short"]
    if importlib.util.find_spec("xdist"):
        options += ["-n", str(min(8, os.cpu_count() or 1))]
    code = subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", *options, *files], check=False).returncode
    sys.exit(code)


def micro() -> None:
    """A recorded step alone, with the drawing of its batch and without environments."""
    for name in ("dqn-64env", "ppo-64env", "vae-mlp", "gan-r1", "gan-no-r1"):
        for precision in ("tf32", "bf16") if name in ("vae-mlp", "gan-r1") else ("tf32",):
            with case("micro", work=name, precision=precision), ExitStack() as stack:
                learner, step, num_samples = work_step(name, precision, stack)
                say("micro", work=name, precision=precision, **time_step(learner, step, num_samples))
    for precision in ("tf32", "bf16"):
        with case("micro", work="dqn-images", precision=precision):
            learner, step, num_samples = image_step(precision)
            say("micro", work="dqn-images", precision=precision, **time_step(learner, step, num_samples))
    with case("micro", work="dqn-images", clipped="by kernels of its own"), clipped_by_kernels_of_its_own():
        learner, step, num_samples = image_step("tf32")
        say("micro", work="dqn-images", clipped="by kernels of its own", **time_step(learner, step, num_samples))

    for way, take in adam.WAYS.items():
        with case("micro", work="adam of dqn-images", way=way):
            say("micro", work="adam of dqn-images", way=way, us=time_adam(take))


def time_adam(take: Callable[[adam.State], None]) -> float:
    """Microseconds of Adam's step alone, as a CUDA graph."""
    from rlgen.speed.graph import CudaGraph

    state = adam.make_state(DEVICE)

    def step() -> list[torch.Tensor]:
        state.count.add_(1)
        take(state)
        return []

    step()
    graph = CudaGraph()
    graph.capture(step, [])
    print_kernels("adam", graph.replay)
    return time_calls(graph.replay, max(20, int(400 * SCALE)))[0]


@contextmanager
def clipped_by_kernels_of_its_own() -> Iterator[None]:
    """Gradients as they were clipped before Adam's kernel did it: to see what that gains."""
    from rlgen.speed import graph
    from rlgen.speed.recording import Recording

    kept = graph.GraphRecording._clipped, graph.divisors
    graph.GraphRecording._clipped = Recording._clipped
    graph.divisors = lambda grads, max_norm: [None] * len(grads)
    try:
        yield
    finally:
        graph.GraphRecording._clipped, graph.divisors = kept


def acting() -> None:
    """A vector step of an agent, its acts as one CUDA graph and then eagerly: no updates."""
    from rlgen.bench import works
    from rlgen.bench.ours import Trainer

    for name in ("dqn-1env", "dqn-64env", "ppo-64env"):
        with case("acting", work=name), ExitStack() as stack:
            trainer = Trainer(works.configure(name, device=DEVICE), works.WORKS[name], stack)
            source, buffer, learner = trainer.source, trainer.buffer, trainer.learner
            row: dict[str, Any] = {}
            for way in ("graph", "eager"):
                source.fill(buffer, learner)
                torch.cuda.synchronize()
                begin, fills = time.perf_counter(), 0
                while not fills or time.perf_counter() - begin < 1.5 * SCALE:
                    source.fill(buffer, learner)
                    fills += 1
                    if name.startswith("ppo"):
                        buffer.drain()
                torch.cuda.synchronize()
                took = time.perf_counter() - begin
                row[f"us_per_vector_step_{way}"] = 1e6 * took / (fills * learner.rows_per_turn)
                row.setdefault("refused", source.acts.refused)
                source.acts.refused = "off"
            say("acting", work=name, **row)


def fused() -> None:
    """The same steps through kernels that Inductor has fused, `--compile always`; a kernel is made at its first use."""
    for name in ("dqn-images", "dqn-64env", "vae-mlp", "ppo-64env")[: 2 if IS_TRIAL else 4]:  # to compile takes as long
        with case("fused", work=name), ExitStack() as stack:
            begin, options = time.perf_counter(), {"compile": "always"}
            is_work = name != "dqn-images"
            made = work_step(name, "tf32", stack, **options) if is_work else image_step("tf32", **options)
            learner, step, num_samples = made
            while not learner.executor.recordings and learner.num_updates < WARM_UPDATES:
                step()
            seconds = time.perf_counter() - begin
            row = time_step(learner, step, num_samples) | {"seconds_to_begin": seconds}
            if not all(recording._fused and recording._step for recording in learner.executor.recordings.values()):
                row["error"] = "a loss or its optimizer is not fused: see fused.log"
            say("fused", work=name, **row)


def work_step(name: str, precision: str, stack: ExitStack, **options: Any) -> tuple[Any, Callable[[], Any], int]:
    """Learner, update and samples an update of a work of `rlgen bench`."""
    from rlgen.bench import works
    from rlgen.bench.ours import Trainer

    config = works.configure(name, device=DEVICE, precision=precision, **options)
    trainer = Trainer(config, works.WORKS[name], stack)
    while not trainer.learner.num_updates:
        trainer.step()
    learner, buffer, size = trainer.learner, trainer.buffer, config["batch_size"]
    if config["algo"] != "ppo":
        return learner, lambda: learner.learn(buffer.sample(size)), size
    trainer.source.fill(buffer, learner)
    batch = next(iter(learner.batches(buffer)))
    return learner, lambda: learner.learn(batch), size


def image_step(
    precision: str, num_envs: int = 8, size: int = 32, compile: str = "never"
) -> tuple[Any, Callable[[], Any], int]:
    """Learner, update and samples an update of Q-learning from stacks of frames, which the ring keeps one by one."""
    from rlgen import experiment
    from rlgen.envs.spec import EnvSpec

    config = configure("dqn", hidden=(512,), batch_size=size, precision=precision, compile=compile)
    spec = EnvSpec("synthetic", (4, 84, 84), "uint8", 6, (), (), (), num_envs, frame_stack=4)
    learner = experiment.build_learner(config, spec)
    experiment.choose_executor(config, learner, spec)
    buffer = experiment.build_buffer(learner, spec)
    obs = torch.randint(256, (num_envs, 4, 84, 84), dtype=torch.uint8, device=DEVICE)
    row: dict[str, Any] = {"obs": obs, "next_obs": obs, "reward": np.zeros(num_envs, np.float32)}
    row["action"] = torch.zeros(num_envs, dtype=torch.int64, device=DEVICE)
    row["terminated"] = row["truncated"] = np.zeros(num_envs, np.bool_)
    for _ in range(300):
        buffer.add(row)
    return learner, lambda: learner.learn(buffer.sample(size)), size


def time_step(learner: Any, step: Callable[[], Any], num_samples: int) -> dict[str, Any]:
    """Time of an update on the GPU, of the host's part of it, and of each of its graphs alone."""
    for _ in range(int(105 * SCALE) + 12):  # past the checks of the 1st, 10th and 100th recorded step
        step()
    num = max(20, int(400 * SCALE))
    gpu_us, host_us = time_calls(step, num)
    row = {"us_per_update": gpu_us, "host_us": host_us, "samples_per_s": 1e6 / gpu_us * num_samples}
    for key, recording in learner.executor.recordings.items():
        row[f"us_of_graph_{key[0]}"], _ = time_calls(recording._graph.replay, num)
        print_kernels(key[0], recording._graph.replay)
    return row | {"refused": refused(learner)}


def print_kernels(name: str, replay: Callable[[], Any], num: int = 5) -> None:
    """The kernels of a graph that take longest, for the part's log: microseconds and how many, a replay."""
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiled:
        for _ in range(num):
            replay()
        torch.cuda.synchronize()
    kernels = [found for found in profiled.key_averages() if found.device_time_total]
    total, count = sum(kernel.device_time_total for kernel in kernels), sum(kernel.count for kernel in kernels)
    print(f"graph of {name}: {count / num:.0f} kernels, {total / num:.1f} us")
    for kernel in sorted(kernels, key=lambda kernel: -kernel.device_time_total)[:20]:
        print(f"  {kernel.device_time_total / num:8.2f} us {kernel.count / num:5.1f}x {kernel.key[:110]}")


def time_calls(function: Callable[[], Any], num: int) -> tuple[float, float]:
    """Microseconds of a call: between events on the GPU, and on the host until the last call has returned."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    began = time.perf_counter()
    for _ in range(num):
        function()
    host = time.perf_counter() - began
    end.record()
    torch.cuda.synchronize()
    return 1e3 * begin.elapsed_time(end) / num, 1e6 * host / num


def atari_dqn() -> None:
    """DQN and Rainbow on ALE's native environments with a ring of single frames, and the environments alone."""
    from rlgen import experiment

    size = int(200_000 * max(SCALE, 0.05))
    num_envs = 64
    for algo in ("dqn", "rainbow"):
        with case("atari_dqn", algo=algo, envs=num_envs):
            options = {"num_envs": num_envs, "buffer_size": size, "learning_starts": 2_000, "train_every": 4}
            learner, source, buffer = experiment.build(configure(algo, batch_size=32, **options, **ATARI))
            with closing(source):
                while learner.num_updates < WARM_UPDATES:
                    train(learner, source, buffer, 2 * SCALE)
                rates = train(learner, source, buffer, 6 * SCALE)
                memory = {"bytes_per_transition": buffer.nbytes / size, "gpu_gib": gpu_gib()}
                say("atari_dqn", algo=algo, envs=num_envs, **rates, **memory, refused=refused(learner))
                say("atari_dqn", algo=algo, envs=num_envs, **time_envs(source, 2 * SCALE))


def time_envs(source: Any, seconds: float) -> dict[str, float]:
    """The environments alone, with random actions: steps a second, and how many cores of the machine they use."""
    spec, steps, begin, cpu_begin = source.spec, 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        source.envs.step(np.random.randint(spec.num_actions, size=spec.num_envs))
        steps += spec.num_envs
    took, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
    row = {"envs_alone_steps_per_s": steps / took, "cores_used": cpu / took}
    return row | {"threads": len(os.listdir("/proc/self/task")), "usable": len(os.sched_getaffinity(0))}


def atari_ppo() -> None:
    """PPO on ALE's native environments. More of them are not made: each takes up to 0.3 s."""
    from rlgen import experiment

    num_envs = 64
    options = {"num_envs": num_envs, "rollout_steps": num_envs * (4 if IS_TRIAL else 128), "num_epochs": 4}
    options["batch_size"] = num_envs * (1 if IS_TRIAL else 32)  # 16 updates a turn
    with case("atari_ppo", envs=num_envs):
        learner, source, buffer = experiment.build(configure("ppo", lr=2.5e-4, **options, **ATARI))
        with closing(source):
            train(learner, source, buffer, 0.1)  # a turn: it captures the graph
            rates = train(learner, source, buffer, 8 * SCALE)
            say("atari_ppo", envs=num_envs, **rates, gpu_gib=gpu_gib(), refused=refused(learner))


def learn() -> None:
    """Whole runs, and the scores they reach."""
    from rlgen import experiment, inference

    generative = {"data": "digits"}
    runs: dict[str, dict[str, Any]] = {"dqn": {}, "ppo": {}, "vae": generative, "gan": generative | {"steps": 100_000}}
    with tempfile.TemporaryDirectory() as folder:
        for algo, options in runs.items():
            options = options | ({"steps": 3_000} if IS_TRIAL else {})
            with case("learn", algo=algo):
                begin = time.perf_counter()
                fixed = {"seed": 200, "device": DEVICE, "wandb": "disabled", "runs_dir": folder}
                run = experiment.train(algo, quiet=True, **fixed, **options)
                took = time.perf_counter() - begin
                found = inference.evaluate(run.path, episodes=3 if IS_TRIAL and not options.get("data") else None)
                scores: dict[str, Any] = {name: found[name] for name in ("nll", "d_gap") if name in found}
                if "episodic_return" in found:
                    scores["episodic_return"] = found["episodic_return"]["mean"]
                say("learn", algo=algo, steps=run.step, seconds=took, **scores)


def seeds() -> None:
    """Ten seeds trained together, against one; also with their batches drawn side by side."""
    from rlgen.speed.graph import GraphRecording

    for name, num_updates in (("vae-mlp", 400), ("gan-r1", 60), ("dqn-1env", 60)):
        with case("seeds", work=name):
            num_updates = max(10, int(num_updates * SCALE))
            alone, _ = time_seeds(name, 1, num_updates)
            together, causes = time_seeds(name, 10, num_updates)
            times = {"us_of_one": alone, "us_of_ten": together, "times_one": together / alone}
            say("seeds", work=name, **times, refused=causes)
    GraphRecording.branches = True
    with case("seeds", work="vae-mlp", drawn="side by side"):
        together, causes = time_seeds("vae-mlp", 10, max(10, int(400 * SCALE)))
        say("seeds", work="vae-mlp", drawn="side by side", us_of_ten=together, refused=causes)


def time_seeds(name: str, num: int, num_updates: int) -> tuple[float, dict[str, str]]:
    """Microseconds of an update of all seeds, and the losses whose steps were refused."""
    from rlgen.speed.stacked import Together

    together = Together() if num > 1 else None
    bodies = [partial(train_seed, name, seed, num_updates, together) for seed in range(num)]
    times = []
    for ended in [bodies[0]()] if together is None else together.run(bodies):
        if isinstance(ended, BaseException):
            raise ended
        times.append(ended)
    begins, ends, causes = zip(*times, strict=True)
    return 1e6 * (max(ends) - min(begins)) / num_updates, causes[-1]


def train_seed(name: str, seed: int, num_updates: int, together: Any) -> tuple[float, float, dict[str, str]]:
    """Train one of the seeds; when its timed updates began and ended, and the losses whose steps were refused."""
    from rlgen.bench import works
    from rlgen.bench.ours import Trainer

    with ExitStack() as stack:
        trainer = Trainer(works.configure(name, device=DEVICE, seed=seed), works.WORKS[name], stack)
        learner: Any = trainer.learner
        learner.executor = together or learner.executor
        while learner.num_updates < WARM_UPDATES:
            trainer.step()
        torch.cuda.synchronize()
        begin = time.perf_counter()
        while learner.num_updates < WARM_UPDATES + num_updates:
            trainer.step()
        torch.cuda.synchronize()
        return begin, time.perf_counter(), together.recorded.refused if together else refused(learner)


def bench() -> None:
    """`rlgen bench`."""
    from rlgen.bench.bench import bench as measure

    for works in ("dqn-64env,dqn-1env", "ppo-64env", "atari-update,atari-sampled", "vae-mlp,gan-r1,gan-no-r1"):
        with case("bench", works=works):
            report = measure(only=works, blocks=3, seconds=0.4 * max(SCALE, 0.1), device=DEVICE)
            for row in report["results"]:
                say("bench", work=row["work"], **{unit: cost["median"] for unit, cost in row["measures"].items()})


def resume() -> None:
    """Runs go on where they stopped, with and without a GPU, and are evaluated on both."""
    pixels = "train dqn --env ALE/Pong-v5 --vectorization native --num-envs 4 --learning-starts 500 --train-every 4"
    pixels += " --buffer-size 2000 --batch-size 32 --eval-episodes 1 --eval-every 1000"
    chains: tuple[tuple[tuple[str, bool, int, str], ...], ...] = (
        # what follows `rlgen`, whether the GPU is hidden, the exit code there should be, and what is said
        (
            ("train double_dqn --steps 4000 --name run --device cuda", False, 0, ""),
            ("resume run --steps 8000", False, 0, "goes on at"),
            ("eval run --episodes 10 --json", False, 0, ""),
            ("eval run --episodes 10 --json", True, 0, ""),
        ),
        (
            ("train dqn --steps 4000 --name moved --device cuda", False, 0, ""),
            ("resume moved --steps 9000", True, 2, "use --device cpu"),
            ("resume moved --steps 10000 --device cpu", True, 0, "draws other numbers"),
            ("resume moved --steps 11000 --device cuda", False, 0, "draws other numbers"),
        ),
        (("train ppo --steps 4000 --name small", False, 0, "--device auto takes the CPU"),),
        (
            (f"{pixels} --steps 2000 --name pixels", False, 0, ""),
            ("resume pixels --steps 3000", False, 0, "goes on at"),
            ("resume pixels --steps 4000", True, 0, "draws other numbers"),
        ),
    )
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(chains)) as pool:
        list(pool.map(partial(run_chain, folder), chains))


def run_chain(folder: str, commands: tuple[tuple[str, bool, int, str], ...]) -> None:
    """Commands of which each one needs the one before it."""
    for command, is_hidden, expected, said in commands:
        argv = [sys.executable, "-m", "rlgen", *command.split(), "--runs-dir", folder]
        argv += ["--wandb", "disabled"] if command.startswith("train") else []
        env = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if is_hidden else {})
        begin = time.perf_counter()
        ended = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
        row: dict[str, Any] = {"command": command, "gpu_is_hidden": is_hidden, "rc": ended.returncode}
        row["seconds"] = time.perf_counter() - begin
        if ended.returncode != expected:
            row["error"] = f"exit code {expected} was expected: {ended.stderr.strip()[-200:]}"
        elif said not in " ".join(ended.stderr.split()):
            row["error"] = f"{said!r} was expected: {ended.stderr.strip()[-200:]}"
        elif "--json" in command:
            row["episodic_return"] = json.loads(ended.stdout)["episodic_return"]["mean"]
        say("resume", **row)
