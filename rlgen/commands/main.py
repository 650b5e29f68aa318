"""The command line: parses, calls, prints. A mistake is one line on stderr and an exit code, never a traceback.

A command's flags are the fields of its class below, as an algorithm's are those of its `Config`: the comment at the end
of a field's line is the help and holds the bound. torch is imported by the commands that compute, and only there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rlgen import __version__
from rlgen.commands import doctor as installed
from rlgen.errors import DiskError, InterruptedRunError, RlgenError, UsageError
from rlgen.options import algorithms as registry
from rlgen.options import config
from rlgen.options.algorithms import Option, nearest
from rlgen.options.flags import parse


@dataclass(frozen=True)
class Train:
    """Train an algorithm."""

    config: str | None = None  # YAML or TOML file of options: above the preset, below the flags
    no_preset: bool = False  # leave out the tuned values of this environment or data set
    dry_run: bool = False  # print the configuration and what it is expected to cost, and stop
    seeds: str | None = None  # A:B trains the seeds A to B - 1 side by side in this process, a run each


@dataclass(frozen=True)
class Resume:
    """Continue a run from its last good checkpoint, as if it had never stopped."""

    run: str  # a name, a directory, a unique prefix, or last
    steps: int | None = None  # a new length (None: the run's own); in [1, 10**12]
    runs_dir: str = "runs"  # where runs are looked for


@dataclass(frozen=True)
class Fork:
    """Begin a new run where a checkpoint of another stands, with other options."""

    run: str  # a name, a directory, a unique prefix, or last
    set: tuple[str, ...] = ()  # options that change: lr=1e-4 gamma=0.98
    steps: int | None = None  # length of the new run, from the parent's beginning (None: the parent's); in [1, 10**12]
    name: str | None = None  # of the new run
    checkpoint: str = "last"  # last, best, or a step
    runs_dir: str = "runs"  # where the run is, and the new one goes


@dataclass(frozen=True)
class Eval:
    """Play greedy episodes with a trained agent, or score a generative model on held-out images."""

    run: str  # a name, a directory, a unique prefix, or last
    episodes: int = 100  # whole episodes an agent plays; in [1, 100000]
    seed: int | None = None  # of the episodes (None: the run's evaluation seed); in [0, 2**63)
    checkpoint: str = "last"  # last, best, or a step
    video: bool = False  # record the first episode as a gif in the run's directory
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


@dataclass(frozen=True)
class Sample:
    """Draw images from a trained generative model."""

    run: str  # a name, a directory, a unique prefix, or last
    num: int = 64  # images; in [1, 1000000]
    out: str = "samples.png"  # a .png grid, or an .npz with `images`, uint8 [N, H, W, C]
    seed: int = 0  # the same seed draws the same images; in [0, 2**63)
    checkpoint: str = "last"  # last, best, or a step
    runs_dir: str = "runs"  # where runs are looked for


@dataclass(frozen=True)
class List:
    """List what there is."""

    what: Literal["algos", "envs", "data", "presets", "runs"]  # the things to list
    word: str = ""  # only those that contain this; several words with blanks, in quotes
    sort: str | None = None  # by this column, the smallest first (None: runs by age, the oldest first)
    reverse: bool = False  # the other way round
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


@dataclass(frozen=True)
class Show:
    """Show a run: configuration, progress, curves, last metrics, checkpoints, and the commands for it."""

    run: str  # a name, a directory, a unique prefix, or last
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


@dataclass(frozen=True)
class Diff:
    """Show what differs between two runs: configuration, versions, machine."""

    run: tuple[str, ...] = ()  # two names, directories, unique prefixes, or last
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


@dataclass(frozen=True)
class Compare:
    """Compare runs: which algorithm is better, by how much, and how sure; says so where it cannot be told."""

    run: tuple[str, ...] = ()  # names, directories, prefixes, globs, wandb's entity/project?algo=dqn (none: every run)
    group: str = ""  # options that make the groups, with commas (none: algo, and every option that differs)
    algo: str = ""  # only these algorithms, with commas, also globs
    env: str = ""  # only these environments, the same way
    data: str = ""  # only these data sets, the same way
    metric: str | None = None  # ranked by this, NAME:higher or NAME:lower if need be (None: the first score all have)
    steps: int | None = None  # score every run at this step (None: at its end); in [1, 10**12]
    threshold: float | None = None  # score to reach, for the steps and time to it (None: the environment's own)
    out: tuple[str, ...] = ()  # files to write: .html, .md, .csv, .json, .png; several with blanks or commas
    wandb: bool = False  # write it as a view of the wandb project too; offline, say what that would hold
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


@dataclass(frozen=True)
class Bench:
    """Time training on this machine, ours and installed peers' in turn, and show where the time goes."""

    only: str = ""  # works (with --scale: axes) to run: parts of names or globs, with commas
    blocks: int = 5  # measurements of each contender, taken in turn; in [1, 1000]
    seconds: float = 0.4  # of a block; in (0, 600]
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where networks and buffer live
    threads: int = 1  # CPU threads of torch, for every contender; in [1, 1024]
    peers: bool = False  # time installed peer libraries too, and plain PyTorch
    profile: bool = False  # split a training step into env, act, insert, sample, update, log and the rest
    scale: bool = False  # cost over the number of environments, batch size, buffer fill and seeds
    out: str | None = None  # with --scale: a .png of the curves
    json: bool = False  # one JSON document on stdout


@dataclass(frozen=True)
class Doctor:
    """Check the installation and the machine."""

    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs would go


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands, flags and run names: source <(rlgen completion bash)."""

    shell: Literal["bash", "zsh", "fish"]  # the shell it is for


def _train(argv: list[str]) -> None:
    known = registry.names()
    usage = f"rlgen train ALGO [flags], where ALGO is one of {', '.join(known)}"
    if not argv:
        raise UsageError(f"which algorithm? {usage}")
    if argv[0] in ("-h", "--help"):
        return print(f"usage: {usage}\n\nrlgen train ALGO --help shows its flags; rlgen list algos says what each is.")
    if argv[0].startswith("-"):
        raise UsageError(f"the algorithm comes before {argv[0]}: {usage}")
    algorithm = registry.find(argv[0])
    options = config.options(algorithm)
    plain = config.resolve(algorithm.name, {})  # what a run without flags would use, for the help page
    defaults = {name: None if option.default is None else plain.values[name] for name, option in options.items()}
    about = f"{algorithm.summary}\n\nThe defaults shown are those of {plain.preset or 'no preset'}."
    refuse = partial(config.check_known, algorithm, options, label="--")
    given = parse(f"train {algorithm.name}", _options(Train) | options, argv[1:], about, defaults, refuse)
    dry_run, seeds = given.pop("dry_run", False), given.pop("seeds", None)
    if seeds is not None and "seed" in given:
        raise UsageError(f"--seed {given['seed']} with --seeds {seeds}: give one of them")
    resolved = config.resolve(algorithm.name, given)
    seeds = None if seeds is None else config.parse_seeds(seeds)
    if algorithm.kind == "agent":
        from rlgen.envs.stream import check_env_id

        check_env_id(resolved.values["env"])  # before torch's seconds
    if resolved.preset:
        values = [f"{name} {resolved.values[name]}" for name, origin in resolved.origin.items() if origin == "preset"]
        print(f"preset {resolved.preset}: {', '.join(values)}   (--no-preset leaves it out)", flush=True)
    if dry_run:
        rows = [(name, _cell(value), resolved.origin[name]) for name, value in resolved.values.items()]
        print(_table(("option", "value", "from"), rows), flush=True)
    from rlgen import experiment

    if not dry_run:
        command = ["rlgen", "train", *argv]
        if seeds is not None:
            return _train_seeds(resolved.config, seeds, command)
        experiment.start(resolved.config, command)
        return None
    cost = experiment.estimate(resolved.config)
    print(
        f"\n{cost['parameters']:,} parameters, {cost['buffer_bytes'] / 2**20:,.1f} MiB of buffer, "
        f"{cost['steps_per_second']:,.0f} steps/s on {cost['device']} (threads: {cost['threads']}): "
        f"about {_duration(cost['seconds'])} for {resolved.config['steps']:,} steps, without evaluation"
    )


def _train_seeds(resolved: dict[str, Any], seeds: Sequence[int], command: Sequence[str]) -> None:
    """A run a seed, and a line each at the end; the exit code is that of the first that failed."""
    from rlgen import experiment

    results = experiment.start_seeds(resolved, seeds, command)
    failed = [result for result in results.values() if isinstance(result, BaseException)]
    rows = []
    for seed, result in results.items():
        if isinstance(result, BaseException):
            rows.append((str(seed), "failed", "-", str(result)))
        else:
            rows.append((str(seed), "finished", _cell(result.best and result.best["value"]), result.name))
    print("\n" + _table(("seed", "state", "best", "run"), rows))
    if failed:
        raise failed[0]


def _resume(args: dict[str, Any]) -> None:
    from rlgen import experiment

    experiment.resume(**args)


def _fork(args: dict[str, Any]) -> None:
    changes = dict(word.partition("=")[::2] for word in args.pop("set"))
    changes = {name.replace("-", "_"): value for name, value in changes.items()}
    if (steps := args.pop("steps")) is not None:
        changes["steps"] = steps
    from rlgen import experiment

    experiment.fork(**args, changes=changes, command=["rlgen", *sys.argv[1:]])


def _evaluate(args: dict[str, Any]) -> Any:
    from rlgen import experiment

    return experiment.evaluate(**args)


def _sample(args: dict[str, Any]) -> str:
    out = Path(args.pop("out"))
    if out.suffix not in (".npz", ".png") or not out.parent.is_dir():
        raise UsageError(f"--out {out}: must end in .png (a grid) or .npz (`images`), in a directory that exists")
    from rlgen import experiment

    images = experiment.sample(**args)  # [N, H, W, C]
    try:
        if out.suffix == ".npz":
            import numpy as np

            np.savez_compressed(out, images=images)
        else:
            from rlgen.pictures import grid

            grid(images.transpose(0, 3, 1, 2)).save(out)
    except OSError as error:
        raise DiskError(f"cannot write {out}: {error.strerror}") from None
    return f"{len(images)} images in {out}"


def _list(args: dict[str, Any]) -> list[dict[str, Any]]:
    from rlgen.runs import show as inspect_runs

    if args["what"] == "envs":
        rows = installed.environments()
    elif args["what"] == "data":
        from rlgen.data import load as datasets

        rows = [{"data": name, "images": shape, "about": about} for name, about, shape in datasets.known()]
    elif args["what"] == "runs":
        rows = inspect_runs.rows(args["runs_dir"])
    else:
        found = [registry.find(name) for name in registry.names()]
        if args["what"] == "algos":
            rows = [
                {"algo": a.name, "kind": a.kind, "presets": list(config.presets(a)), "about": a.summary} for a in found
            ]
        else:
            rows = [
                {"algo": a.name, "for": key, "file": file, "values": values}
                for a in found
                for key, (file, values) in config.presets(a).items()
            ]
    return inspect_runs.table(rows, args["word"], args["sort"], args["reverse"])


def _show(args: dict[str, Any]) -> dict[str, Any]:
    from rlgen.runs import show as inspect_runs

    return inspect_runs.show(**args)


def _diff(args: dict[str, Any]) -> list[dict[str, Any]]:
    from rlgen.runs import show as inspect_runs

    return inspect_runs.diff(**args)


def _completion(args: dict[str, Any]) -> str:
    from rlgen.commands import completion

    return completion.SCRIPTS[args["shell"]]


def _compare(args: dict[str, Any]) -> Any:
    from rlgen.compare import collect as reading
    from rlgen.compare import judge as compare
    from rlgen.compare import report

    out = [path for text in args["out"] for path in text.split(",") if path]
    report.check(out)
    entries = reading.collect(args["run"], args["runs_dir"], args["algo"], args["env"], args["data"])
    group = [key.strip() for key in args["group"].split(",") if key.strip()]
    result = compare.compare(entries, args["metric"], group, args["steps"], args["threshold"])
    report.write(result, out)
    if args["wandb"]:
        from rlgen.compare import wandb_runs as remote

        remote.publish(result, group)
    return result


def _bench(args: dict[str, Any]) -> Any:
    from rlgen import bench

    return bench.bench(**args, command=shlex.join(["rlgen", *sys.argv[1:]]))


def _doctor(args: dict[str, Any]) -> dict[str, Any]:
    return installed.report(**args)


COMMANDS: dict[str, tuple[type, Callable[[dict[str, Any]], Any]]] = {
    "resume": (Resume, _resume),
    "fork": (Fork, _fork),
    "eval": (Eval, _evaluate),
    "sample": (Sample, _sample),
    "list": (List, _list),
    "show": (Show, _show),
    "diff": (Diff, _diff),
    "compare": (Compare, _compare),
    "bench": (Bench, _bench),
    "doctor": (Doctor, _doctor),
    "completion": (Completion, _completion),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    try:
        _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except RlgenError as error:
        print(error if isinstance(error, InterruptedRunError) else f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except MemoryError as error:
        print(f"error: out of memory ({error}): smaller batches, networks or buffers need less", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `rlgen list envs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _run(argv: list[str]) -> None:
    if not argv:
        raise UsageError(f"which command? train, {', '.join(COMMANDS)}; see `rlgen --help`")
    name, rest = argv[0], argv[1:]
    if name in ("-h", "--help"):
        lines = [f"  {name:10} {cls.__doc__}" for name, (cls, _) in {"train": (Train, None), **COMMANDS}.items()]
        print(f"rlgen {__version__}: deep RL agents, GANs and VAEs through one loop\n", *lines, sep="\n")
        return print("\nrlgen COMMAND --help shows its flags.")
    if name == "--version":
        return print(__version__)
    if name == "train":
        return _train(rest)
    if name == "__complete":  # asked by the scripts of `rlgen completion`
        from rlgen.commands import completion

        return print(*completion.candidates(rest), sep="\n")
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}.{nearest(name, ['train', *COMMANDS])} See `rlgen --help`")
    cls, function = COMMANDS[name]
    options = _options(cls)
    given = parse(name, options, rest, cls.__doc__ or "")
    args = {option.name: given.get(option.name, option.default) for option in options.values()}
    as_json = args.pop("json", False)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        result = function(args)
    if as_json:
        print(json.dumps(_plain(result), indent=2, allow_nan=False))
    elif result is not None:
        print(_text(result))
    if isinstance(result, dict) and result.get("problems"):
        raise RlgenError("; ".join(result["problems"]))


def _options(cls: type) -> dict[str, Option]:
    return registry.read_options(registry.Source(__name__, Path(__file__)), cls.__name__)[0]


def _plain(value: Any) -> Any:
    """The value as strict JSON can hold it: no NumPy, no NaN."""
    from rlgen.runs.run import strict

    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else strict(value)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return (" ".join(map(_cell, value)) or "-") if len(value) <= 20 else f"{len(value)} values, see --json"
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _block(value: Any) -> str:
    return _cell(value).replace("\n", "\n" + " " * 31)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (columns, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _text(result: Any) -> str:
    if isinstance(result, str):
        return result
    if hasattr(result, "text"):  # a comparison
        return result.text()
    if isinstance(result, list):
        rows = getattr(result, "shown", result)  # as people read it
        columns = [key for key in rows[0] if key != "path"] if rows else []
        return _table(columns, [[_cell(row[key]) for key in columns] for row in rows]) if rows else "none"
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [key, *(f"  {name:28} {_block(item)}" for name, item in value.items())]
        elif key in ("commands", "problems"):
            lines += [f"{key:30} {value[0] if value else 'none'}", *(f"{'':30} {line}" for line in value[1:])]
        else:
            lines.append(f"{key:30} {_cell(value)}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
