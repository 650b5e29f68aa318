"""`rlgen train ALGO`: the algorithm's file says which flags may follow its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgen.commands import options_of
from rlgen.errors import InterruptedRunError, UsageError, one_line
from rlgen.options import algorithms, config, flags
from rlgen.options.checks import check_layer
from rlgen.options.seeds import parse_seeds
from rlgen.options.shares import is_first, number
from rlgen.text import Bytes, cell, duration, table, wrapped


@dataclass(frozen=True)
class Options:
    """Train an algorithm."""

    config: str | None = None  # YAML or TOML file of options: above the preset, below the flags
    no_preset: bool = False  # leave out the tuned values of this environment or data set
    dry_run: bool = False  # print the configuration and what it is expected to cost, and stop
    resume_if_exists: bool = False  # go on with the run of this --name if there is one; nothing if it is finished
    seeds: tuple[str, ...] = ()  # a run each, of which --jobs at a time: A:B is A to B - 1; or a list, 1,2,3
    jobs: int = 0  # processes for --seeds, a run each; 0: as many as cores, on a GPU one for all; in [0, 4096]


@dataclass(frozen=True)
class Training:
    """What is to be trained, and how."""

    resolved: config.Resolved
    seeds: Sequence[int]  # a run each; none: the one of the configuration
    jobs: int
    dry_run: bool
    resume_if_exists: bool
    command: list[str]  # what the user typed


def parse(words: Sequence[str]) -> Training:
    """The algorithm, then the flags of the command, of every run and of the algorithm."""
    if not words:
        raise UsageError(f"which algorithm? {usage()}")
    name, *rest = words
    if name in ("-h", "--help"):
        print(f"usage: {usage()}\n\nrlgen train ALGO --help shows its flags; rlgen list algos says what each is.")
        raise SystemExit(0)
    if name.startswith("-"):
        raise UsageError(f"the algorithm comes before {name}: {usage()}")

    algorithm = algorithms.find(name)
    own, options = options_of("train"), config.options(algorithm)
    defaults, about = {key: option.default for key, option in options.items()}, algorithm.summary
    if {"-h", "--help"} & set(rest):  # its page shows what a run without flags would use
        plain = config.resolve(name, {})
        defaults = {key: None if option.default is None else plain.values[key] for key, option in options.items()}
        about += f"\n\nThe defaults shown are those of {plain.preset or 'no preset'}."
    given = flags.parse(f"train {name}", own | options, rest, about, defaults, config.absent(algorithm))

    several = "seeds" in given
    asked = Options(**check_layer({key: given.pop(key) for key in own if key in given}, own, f"train {name}"))
    if several and "seed" in given:
        raise UsageError(f"--seed {given['seed']} with --seeds {' '.join(asked.seeds)}: give one of them")
    resolved = config.resolve(name, given | {"config": asked.config, "no_preset": asked.no_preset})
    seeds = parse_seeds(" ".join(asked.seeds)) if several else ()
    if asked.jobs and not several:
        raise UsageError(f"--jobs {asked.jobs} needs --seeds: it is how many of them train at a time")
    if asked.resume_if_exists and (seeds or resolved.config["name"] is None):
        raise UsageError("--resume-if-exists needs a --name, and no --seeds: one run a command")
    return Training(resolved, seeds, asked.jobs, asked.dry_run, asked.resume_if_exists, ["rlgen", "train", *words])


def usage() -> str:
    """How the command is used."""
    return f"rlgen train ALGO [flags], where ALGO is one of {', '.join(algorithms.names())}"


def run(training: Training) -> str | None:
    """Train, or say what it would take."""
    resolved = training.resolved
    if resolved.algorithm.kind == "agent":
        from rlgen.envs.find import check_env_id

        check_env_id(resolved.values["env"])  # before torch's seconds
    if resolved.preset and is_first():
        values = [f"{name} {resolved.values[name]}" for name, origin in resolved.origin.items() if origin == "preset"]
        print(wrapped(f"preset {resolved.preset}: {', '.join(values)}   (--no-preset leaves it out)"), flush=True)
    if training.dry_run:
        rows = [(name, cell(value), resolved.origin[name]) for name, value in resolved.values.items()]
        if is_first():
            print(table(("option", "value", "from"), rows), flush=True)
        return cost(resolved.config)
    if number() > 1:
        if training.seeds or training.resume_if_exists:
            raise UsageError("--seeds and --resume-if-exists do not work with torchrun, which trains one run")
        from rlgen import ranked

        ranked.start(resolved.config, training.command)
        return None
    if not training.seeds:
        from rlgen import experiment
        from rlgen.runs.again import standing

        found = standing(resolved.config) if training.resume_if_exists else "new"
        if found == "finished":
            return f"run {resolved.config['name']} is finished"
        if found == "unfinished":
            path = Path(resolved.config["runs_dir"]) / resolved.config["name"]
            given = resolved.config["device"]
            device = None if given == "auto" else given
            experiment.resume(str(path), max_memory=resolved.config.get("max_memory"), device=device)
        else:
            experiment.start(resolved.config, training.command)
    else:
        train_seeds(resolved.config, training.seeds, training.command, training.jobs)
    return None


def cost(resolved: dict[str, Any]) -> str:
    """What a run is expected to cost."""
    from rlgen.bench.estimate import estimate
    from rlgen.runs import preflight

    found = estimate(resolved)
    free = Bytes(preflight.free(Path(resolved["runs_dir"])))
    spans = {name: f"{duration(part.low)} to {duration(part.high)}" for name, part in found.parts.items()}
    longest = f", of episodes of up to {found.episode:,} steps" if found.episode else ""
    memory = f"{Bytes(found.memory)}, {Bytes(found.memory_saving)} while it saves; {Bytes(found.needs.memory)} of it"
    lines = {
        "parameters": f"{found.parameters:,}",
        "memory": f"{memory} for the buffer",
        "disk": f"{Bytes(found.needs.disk)} of disk, {free} are free",
        "speed": f"{found.rate:,.0f} steps/s on {found.device} (threads: {found.threads})",
        "training": f"about {duration(found.training.about)}, {spans['training']}",
        "evaluations": f"{found.evaluations}, {spans['evaluation']}{longest}",
        "checkpoints": f"{found.checkpoints}, {spans['saving']}",
        "in all": f"{spans['total']} for {found.steps:,} steps",
    }
    return "\n" + "\n".join(f"{name:12} {line}" for name, line in lines.items())


def train_seeds(resolved: dict[str, Any], seeds: Sequence[int], command: Sequence[str], jobs: int = 0) -> None:
    """A run a seed, and a line each at the end; the exit code is that of the first that failed."""
    from rlgen import experiment
    from rlgen.jobs import run_seeds
    from rlgen.runs.find import describe
    from rlgen.runs.table import columns, shown
    from rlgen.speed.device import cores, pick_device

    if jobs or pick_device(experiment.settled(resolved)["device"]).type == "cpu":
        results: Any = run_seeds(resolved, seeds, jobs or cores(), command)
    else:  # a GPU is shared best by one process
        results = experiment.start_seeds(resolved, seeds, command)
    rows = []
    for seed, result in results.items():
        if isinstance(result, BaseException):
            state = "interrupted" if isinstance(result, InterruptedRunError) else "failed"
            rows.append((str(seed), state, "-", "-", one_line(result)))
        else:
            found = describe(result.path)
            row = shown(found | columns(found))
            rows.append((str(seed), "finished", cell(row["score"]), cell(row["best"]), result.name))
    print("\n" + table(("seed", "state", "score", "best", "run"), rows))
    for result in results.values():
        if isinstance(result, BaseException):
            raise result
