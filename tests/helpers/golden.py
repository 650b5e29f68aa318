"""Small runs whose weights and rows are known to the last bit: whoever changes the code can see that it still computes.

    python tests/helpers/golden.py record FILE --checkout DIR --python PY
    python tests/helpers/golden.py check FILE --checkout DIR --python PY [--only PART ...] [--alone]

A case is a command line; what it leaves in its run directory is read: `metrics.jsonl` and `state.pt` of the newest
checkpoint. Nothing of rlgen is imported here, so the same cases run whatever the code looks like. `record` gives every
case a process of its own, `check` a process to a few, one after another: half of a case's time is the start.
Bits depend on the machine and on the versions of torch and NumPy; the file says where it was made (`fingerprint`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests/golden/golden.json"
AT_ONCE = 2  # processes, of one thread each
LIMIT = 900  # seconds that a process may take
TOGETHER = 4  # cases that `check` runs in one process
FORMAT = 1
FAILED = "failed"
PARTS = ("weights", "training rows", "evaluation rows")  # of a run, compared on their own
UNTIMED = ("time", "charts/SPS")  # columns that tell of the machine's speed

COMMON = "--no-preset --device cpu --threads 1 --wandb disabled"
AGENT = f"{COMMON} --eval-episodes 4 --hidden 32 24"
CARTPOLE = f"{AGENT} --env CartPole-v1"
PENDULUM = f"{AGENT} --env Pendulum-v1 --vectorization sync --eval-episodes 2"
SYNC_1, SYNC_4 = "--vectorization sync --num-envs 1", "--vectorization sync --num-envs 4"
NATIVE_8 = "--vectorization native --num-envs 8"
# Recording begins where at least 2,000 gradient steps are still to come, so that many there are here.
DQN = f"{CARTPOLE} --steps 3300 --train-every 1 --learning-starts 100 --batch-size 32 --buffer-size 2000"
DQN = f"{DQN} --target-every 50 --lr 1e-3 --log-every 330 --eval-every 1100 --checkpoint-every 1100"
DQN_8 = f"{DQN} --steps 9600 --train-every 3 --log-every 960 --eval-every 3200 --checkpoint-every 3200 {NATIVE_8}"
REINFORCE = "--rollout-steps 8 --steps 20000 --log-every 2000 --eval-every 6000 --checkpoint-every 10000"
REINFORCE_8 = "--rollout-steps 16 --steps 40000 --log-every 4000 --eval-every 12000 --checkpoint-every 20000"
PPO = "--rollout-steps 256 --batch-size 64 --num-epochs 8 --steps 6000"
PPO = f"{PPO} --log-every 600 --eval-every 2000 --checkpoint-every 3000"
VAE = f"{COMMON} --eval-samples 0 --data digits --steps 40000 --batch-size 16 --hidden 32 --latent 4 --nll-samples 20"
VAE = f"{VAE} --log-every 4000 --eval-every 13000 --checkpoint-every 20000"
GAN = f"{COMMON} --eval-samples 0 --data digits --steps 8800 --batch-size 4 --width 4 --num-hidden 16 --latent 8"
GAN = f"{GAN} --log-every 880 --eval-every 3000 --checkpoint-every 4400"


@dataclass(frozen=True)
class Case:
    """One command.

    Args:
        name: also the run's, so that runs of several seeds are `NAME-0`, `NAME-1`, ...
        algo: the algorithm's name.
        flags: the rest of the command line; of a flag given twice the last counts.
        quick: part of the test suite, one case an algorithm.
    """

    name: str
    algo: str
    flags: str
    quick: bool = False

    @property
    def words(self) -> list[str]:
        """The words after `rlgen`, each flag once."""
        last: dict[str, list[str]] = {}
        flag = ""
        for word in self.flags.split():
            if word.startswith("--"):
                last.pop(flag := word, None)
                last[flag] = []
            else:
                last[flag].append(word)
        return ["train", self.algo, *(word for flag, values in last.items() for word in (flag, *values))]


CASES = [
    Case("dqn-sync-1", "dqn", f"{DQN} {SYNC_1}"),
    Case("dqn-sync-4", "dqn", f"{DQN} {SYNC_4}"),
    Case("dqn-native-8", "dqn", DQN_8, quick=True),
    Case("dqn-n-step-3", "dqn", f"{DQN} {SYNC_1} --n-step 3"),
    Case("dqn-n-step-3-native-8", "dqn", f"{DQN_8} --n-step 3 --gradient-steps 2 --tau 0.2"),
    Case("dqn-seeds", "dqn", f"{DQN} {SYNC_1} --seeds 0:3"),
    Case("dqn-bf16-short", "dqn", f"{DQN} {SYNC_1} --precision bf16 --steps 600 --log-every 100 --eval-every 300"),
    Case("dqn-short", "dqn", f"{DQN} {SYNC_1} --steps 600 --log-every 100 --eval-every 300"),
    Case("double-dqn-sync-1", "double_dqn", f"{DQN} {SYNC_1}", quick=True),
    Case("double-dqn-sync-4", "double_dqn", f"{DQN} {SYNC_4}"),
    Case("double-dqn-native-8", "double_dqn", DQN_8),
    Case("reinforce-sync-1", "reinforce", f"{CARTPOLE} {SYNC_1} {REINFORCE}"),
    Case("reinforce-sync-4", "reinforce", f"{CARTPOLE} {SYNC_4} {REINFORCE}"),
    Case("reinforce-native-8", "reinforce", f"{CARTPOLE} {NATIVE_8} {REINFORCE_8} --entropy-coef 0.01", quick=True),
    Case("reinforce-pendulum", "reinforce", f"{PENDULUM} {REINFORCE} --num-envs 4"),
    Case("ppo-sync-1", "ppo", f"{CARTPOLE} {SYNC_1} {PPO}"),
    Case("ppo-sync-4", "ppo", f"{CARTPOLE} {SYNC_4} {PPO} --target-kl 0.002"),
    Case("ppo-native-8", "ppo", f"{CARTPOLE} {NATIVE_8} {PPO} --entropy-coef 0.01"),
    Case("ppo-pendulum", "ppo", f"{PENDULUM} {PPO} --num-envs 2", quick=True),
    Case("ppo-seeds", "ppo", f"{CARTPOLE} {SYNC_1} {PPO} --seeds 0:3"),
    Case("vae-digits", "vae", VAE, quick=True),
    Case("vae-seeds", "vae", f"{VAE} --seeds 0:3"),
    Case("vae-short", "vae", f"{VAE} --steps 4000 --log-every 1000 --eval-every 2000"),
    Case("gan-digits", "gan", GAN),
    Case("gan-no-penalty", "gan", f"{GAN} --r1-gamma 0 --ema-half-life 500"),
    Case("gan-short", "gan", f"{GAN} --steps 1200 --batch-size 8 --log-every 200 --eval-every 600", quick=True),
]


def environment(checkout: Path) -> dict[str, str]:
    """Of a process that runs the code of `checkout` on one thread."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RLGEN_", "WANDB_", "PYTHON"))}
    kept["RLGEN_COMPILED"] = ""  # nothing is compiled, whatever this machine has
    return kept | {
        "PYTHONPATH": str(checkout.resolve()),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "COLUMNS": "120",
    }


@cache
def fingerprint(checkout: Path, python: str) -> dict[str, str]:
    """What the bits of a run depend on beside its code, as the processes of its cases see it.

    Raises:
        RuntimeError: rlgen is not imported from `checkout`.
    """
    code = (
        "import json, platform, sys, gymnasium, numpy, torch, rlgen; print(json.dumps({"
        "'python': platform.python_version(), 'torch': torch.__version__, 'numpy': numpy.__version__,"
        "'gymnasium': gymnasium.__version__, 'machine': platform.machine(),"
        "'instructions': torch.backends.cpu.get_cpu_capability(), 'file': rlgen.__file__}))"
    )
    done = subprocess.run([python, "-c", code], env=environment(checkout), capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{python} cannot import what rlgen needs:\n{done.stderr[-2000:]}")
    found: dict[str, str] = json.loads(done.stdout)
    file = Path(found.pop("file")).resolve()
    if not file.is_relative_to(checkout.resolve()):
        raise RuntimeError(f"rlgen comes from {file}, not from {checkout}")
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found | {"cpu": models[0] if models else "unknown"}


def differing(one: dict[str, str], other: dict[str, str]) -> str:
    """What differs between two fingerprints, in words; empty where nothing does."""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return ", ".join(f"{name} {one.get(name)} / {other.get(name)}" for name in names)


_RUN = """
import contextlib, io, json, runpy, sys, time, traceback

results = []
for words in json.load(sys.stdin):
    out, err, begin, code = io.StringIO(), io.StringIO(), time.monotonic(), 0
    sys.argv = ["rlgen", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("rlgen", run_name="__main__", alter_sys=True)
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
            code = -1
    results.append((code, out.getvalue(), err.getvalue(), time.monotonic() - begin))
json.dump(results, sys.stdout)
"""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


def run_commands(commands: Sequence[Sequence[str]], folder: Path, checkout: Path, python: str) -> list[Result]:
    """Do what `python -m rlgen WORDS` does for each of the commands, one after another in one new process.

    Args:
        commands: the words after `rlgen`.
        folder: where they run.
        checkout: whose code runs.
        python: the interpreter.

    Raises:
        RuntimeError: the process itself died.
    """
    done = subprocess.run(
        [python, "-c", _RUN],
        input=json.dumps([list(words) for words in commands]),
        cwd=folder,
        env=environment(checkout),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode:
        raise RuntimeError(f"the process died with {done.returncode}: {commands}\n{done.stderr[-3000:]}")
    return [Result(*result) for result in json.loads(done.stdout)]


def run_cases(cases: Sequence[Case], checkout: Path, python: str) -> list[tuple[dict[str, Any], float]]:
    """Train in one process and read what was left: of every case a summary a run by name, and the seconds.

    A case whose command fails has `FAILED` and what was printed instead of runs.
    """
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        commands = [[*case.words, "--runs-dir", case.name, "--name", case.name] for case in cases]
        found = []
        for case, result in zip(cases, run_commands(commands, Path(folder), checkout, python), strict=True):
            runs: dict[str, Any] = {FAILED: f"exit code {result.code}\n{result.out[-1000:]}{result.err[-3000:]}"}
            if result.code == 0:
                runs = {path.name: summarize(path) for path in sorted(Path(folder, case.name).iterdir())}
            found.append((runs, result.seconds))
        return found


def run_all(
    cases: Sequence[Case], checkout: Path, python: str, together: int
) -> Iterator[tuple[Case, dict[str, Any], float]]:
    """Run them in two processes at a time, `together` cases each, and give what `run_cases` does in their order."""
    groups = [cases[index : index + together] for index in range(0, len(cases), together)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = pool.map(partial(run_cases, checkout=checkout, python=python), groups)
        for group, found in zip(groups, results, strict=True):
            for case, (runs, seconds) in zip(group, found, strict=True):
                yield case, runs, seconds


def summarize(run: Path) -> dict[str, Any]:
    """What a run directory holds, to be compared bit for bit.

    Returns:
        `step`, of the newest checkpoint; `weights`, a digest and a norm of every tensor of the learner by name, the
        optimizers' among them; `training rows` and `evaluation rows`, as columns by name.
    """
    import torch

    checkpoint = max((run / "checkpoints").glob("step_*"))
    state = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
    weights = {name: [digest(value), norm(value)] for name, value in tensors(state["learner"])}
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [{name: value for name, value in json.loads(line).items() if is_result(name)} for line in lines]
    rows = [row for row in rows if row.keys() - {"step", "weights"}]  # without the digests that checkpoints leave
    evaluations = [row for row in rows if any(name.startswith("eval/") for name in row)]
    training = [row for row in rows if row not in evaluations]
    return dict(zip(("step", *PARTS), (state["step"], weights, columns(training), columns(evaluations)), strict=True))


def is_result(name: str) -> bool:
    """Whether a column is computed by training, and not by what watches it or by the clock."""
    return name not in UNTIMED and not name.startswith("health")


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor in a state of dictionaries and lists, with the path to it; and the counts a learner keeps."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "param_groups":
                yield from tensors(item, f"{name}/{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from tensors(item, f"{name}/{index}")
    elif hasattr(value, "numpy") or name.rpartition("/")[2] in ("num_updates", "progress"):
        yield name, value


def digest(value: Any) -> str:
    """The sha256 of a tensor's dtype, shape and bytes, its first half; of a number as it is written."""
    if not hasattr(value, "numpy"):
        return hashlib.sha256(repr(value).encode()).hexdigest()[:32]
    about = f"{value.dtype} {tuple(value.shape)} ".encode()
    return hashlib.sha256(about + value.contiguous().numpy().tobytes()).hexdigest()[:32]


def norm(value: Any) -> float:
    """How large it is: tells how far two tensors of different digests are apart, at the least."""
    numbers = value.double().flatten().tolist() if hasattr(value, "numpy") else [float(value)]
    return math.sqrt(math.fsum(number * number for number in numbers))


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows by column, None where a row lacks one; smaller on the disk."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def differences(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, list[str]]:
    """What differs between two summaries of a run, in lines by part: the first and largest of each."""
    result: dict[str, list[str]] = {}
    names = {part: dict.fromkeys([*expected[part], *found[part]]) for part in PARTS}
    lines = []
    if expected["step"] != found["step"]:
        lines.append(f"ends at step {found['step']} instead of {expected['step']}")
    one, other = expected["weights"], found["weights"]
    unequal = [name for name in names["weights"] if name in one and name in other and one[name][0] != other[name][0]]
    lines += _absent(one, other, "tensor")
    if unequal:
        lines.append(f"{len(unequal)} of {len(one)} tensors differ")
        lines += [f"{name}: norm {_apart(one[name][1], other[name][1])}" for name in unequal[:4]]
    result["weights"] = lines
    for part in PARTS[1:]:
        lines = _absent(expected[part], found[part], "column")
        first: list[tuple[int, str]] = []
        for name in names[part]:
            if name not in expected[part] or name not in found[part]:
                continue
            pairs = list(zip(expected[part][name], found[part][name], strict=False))
            if len(expected[part][name]) != len(found[part][name]):
                lines.append(f"{name}: {len(found[part][name])} rows instead of {len(expected[part][name])}")
            rows = [index for index, (a, b) in enumerate(pairs) if not _same(a, b)]
            if rows:
                step = expected[part]["step"][rows[0]]
                a, b = pairs[rows[0]]
                first.append((rows[0], f"{name}: {len(rows)} rows, first at step {step}: {_apart(a, b)}"))
        result[part] = lines + [line for _, line in sorted(first)[:4]]
        if len(first) > 4:
            result[part].append(f"and {len(first) - 4} more columns")
    return {part: lines for part, lines in result.items() if lines}


def _absent(expected: dict[str, Any], found: dict[str, Any], what: str) -> list[str]:
    lists = {"missing": expected.keys() - found.keys(), "new": found.keys() - expected.keys()}
    return [f"{len(names)} {what}s {how}: {', '.join(sorted(names)[:3])}" for how, names in lists.items() if names]


def _same(one: Any, other: Any) -> bool:
    return one == other and type(one) is type(other)


def _apart(one: Any, other: Any) -> str:
    if not isinstance(one, (int, float)) or not isinstance(other, (int, float)):
        return f"{one!r} is now {other!r}"
    return f"{one!r} is now {other!r}, {abs(other - one) / max(abs(one), 1e-300):.1e} relative"


def compare_runs(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, list[str]]:
    """What differs between the runs of a case, in lines by part; empty where all are equal."""
    if FAILED in found:
        return {part: [found[FAILED]] for part in PARTS[:1]}
    if expected.keys() != found.keys():
        return {"weights": [f"the runs are {', '.join(found)} instead of {', '.join(expected)}"]}
    result: dict[str, list[str]] = {}
    for run in expected:
        for part, lines in differences(expected[run], found[run]).items():
            result.setdefault(part, []).extend(f"{run}: {line}" if len(expected) > 1 else line for line in lines)
    return result


def read(file: Path) -> dict[str, Any]:
    """The file that `record` wrote."""
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if value["format"] != FORMAT:
        raise RuntimeError(f"{file}: its format is {value['format']}, this script reads {FORMAT}: record it again")
    return value


def record(file: Path, cases: Sequence[Case], checkout: Path, python: str) -> None:
    """Run the cases and write what they left.

    Raises:
        RuntimeError: a case failed.
    """
    value: dict[str, Any] = {"format": FORMAT, "fingerprint": fingerprint(checkout, python), "cases": {}}
    for case, runs, seconds in run_all(cases, checkout, python, together=1):
        if FAILED in runs:
            raise RuntimeError(f"{case.name}: {runs[FAILED]}")
        value["cases"][case.name] = {"command": " ".join(case.words), "runs": runs}
        print(f"{case.name:24} {seconds:5.1f} s", flush=True)
    write(file, value)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def write(file: Path, value: dict[str, Any]) -> None:
    """JSON with a line for every tensor and column, so that git shows what changed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_lines(value) + "\n", encoding="utf-8")


def _lines(value: Any, indent: str = "") -> str:
    if not isinstance(value, dict) or not value:
        return json.dumps(value, separators=(",", ":"))
    inner = indent + " "
    rows = [f"{inner}{json.dumps(key)}: {_lines(item, inner)}" for key, item in value.items()]
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"


@contextlib.contextmanager
def snapshot(checkout: Path) -> Iterator[Path]:
    """A copy of the code of `checkout`, which others may edit while a check runs."""
    with tempfile.TemporaryDirectory(prefix="golden-code-") as folder:
        ignored = shutil.ignore_patterns(".*", "__pycache__", "tests", "runs", "build", "dist", "*.egg-info")
        top = [path for path in checkout.iterdir() if path.is_dir() and path.name not in ignored("", [path.name])]
        for path in top:
            shutil.copytree(path, Path(folder, path.name), ignore=shutil.ignore_patterns(".*", "__pycache__"))
        yield Path(folder)


def check(file: Path, cases: Sequence[Case], checkout: Path, python: str, together: int = TOGETHER) -> int:
    """Run the cases and print what differs from the file; how many do."""
    known = read(file)
    num_unequal = 0
    with snapshot(checkout) as code:
        here = fingerprint(code, python)
        if here != known["fingerprint"]:
            print(f"note: bits may differ, since the file was made elsewhere: {differing(known['fingerprint'], here)}")
        for case, runs, seconds in run_all(cases, code, python, together):
            entry = known["cases"].get(case.name)
            if entry is None or entry["command"] != " ".join(case.words):
                found = {"weights": ["no record of this command: record it again"]}
            else:
                found = compare_runs(entry["runs"], runs)
            states = ", ".join(f"{part} {'DIFFER' if part in found else 'equal'}" for part in PARTS)
            state = "FAILED" if FAILED in runs else states if found else "equal"
            print(f"{case.name:24} {seconds:5.1f} s  {state}", flush=True)
            for part, lines in found.items():
                print(*(f"    {part}: {line}" for line in lines), sep="\n", flush=True)
            num_unequal += bool(found)
    print(f"{len(cases) - num_unequal} of {len(cases)} cases equal")
    return num_unequal


def chosen(only: Iterable[str]) -> list[Case]:
    """The cases whose algorithm is, or whose name contains, one of these words; all without any."""
    words = list(only)
    return [case for case in CASES if not words or any(word == case.algo or word in case.name for word in words)]


def main(argv: Sequence[str] | None = None) -> int:
    """Record or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=("record", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose code runs")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs it")
    parser.add_argument("--only", nargs="+", default=[], help="algorithms, or parts of names of cases")
    parser.add_argument("--alone", action="store_true", help="a process of its own for every case of a check")
    args = parser.parse_args(argv)
    cases = chosen(args.only)
    if not cases:
        parser.error(f"no case fits {args.only}: {', '.join(case.name for case in CASES)}")
    python = str(Path(args.python).absolute())
    if args.action == "record":
        if args.only:
            parser.error("a record holds every case: leave --only out")
        record(args.file, cases, args.checkout, python)
        return 0
    return 1 if check(args.file, cases, args.checkout, python, 1 if args.alone else TOGETHER) else 0


if __name__ == "__main__":
    sys.exit(main())
