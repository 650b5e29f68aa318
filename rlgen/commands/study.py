"""`rlgen study create|work|show|best|compare|clean NAME`: many runs, tuned by Optuna."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from rlgen import commands
from rlgen.errors import UsageError
from rlgen.options import algorithms, config, flags, parsed_module
from rlgen.options.checks import check_layer
from rlgen.options.fields import Option, read_options


@dataclass(frozen=True)
class Options:
    """Tune an algorithm: trials of several seeds each, on Optuna, by as many workers as one likes."""

    what: Literal["create", "work", "show", "best", "compare", "clean"]  # rlgen study WHAT --help has its flags
    study: str = ""  # its name


@dataclass(frozen=True)
class Create:
    """Make a study, and say what it will cost. It takes the flags of every run and of the algorithm, too."""

    study: str  # its name
    algo: str = ""  # the algorithm, of rlgen list algos
    over: tuple[str, ...] = ()  # what is tried, as lr=1e-4:1e-2:log n_step=1:20 hidden=64,64/128,128
    seeds: tuple[str, ...] = ("100:103",)  # of each trial: A:B is A to B - 1; or a list, 1,2,3
    trials: int | None = None  # how many (None: 20, of a grid all); in [1, 10**6]
    sampler: Literal["tpe", "random", "grid"] = "tpe"  # what chooses the values
    prune: Literal["none", "median"] = "none"  # median: end a trial that is below the median of others at a rung
    rungs: int = 5  # with --prune: parts of a run, at whose ends the seeds' mean is judged; in [1, 100]
    metric: str | None = None  # NAME:higher or NAME:lower (None: eval/episodic_return, of images eval/nll)
    trial_minutes: float | None = None  # a trial that takes longer has failed; in (0, inf)
    heartbeat: int = 30  # seconds between signs of life; a trial without three of them is another's; in [1, 3600]
    storage: str | None = None  # for several machines: postgresql://USER@HOST/DATABASE (None: SQLite in the study)
    config: str | None = None  # YAML or TOML file of options: above the preset, below the flags
    no_preset: bool = False  # leave out the tuned values of this environment or data set
    dry_run: bool = False  # say what it will cost, and stop
    runs_dir: str = "runs"  # the study goes into its folder studies


@dataclass(frozen=True)
class Work:
    """Train trials of a study until none is left. Start it as often as you like."""

    study: str  # its name
    jobs: int = 0  # seeds that train at a time (0: as many as cores); in [0, 4096]
    runs_dir: str = "runs"  # where it was created


@dataclass(frozen=True)
class Show:
    """Show the trials of a study: state, score, values, and why one failed."""

    study: str  # its name
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where it was created


@dataclass(frozen=True)
class Best:
    """Write the values of the best trial as a preset; with --evaluate, say what they score on fresh seeds."""

    study: str  # its name
    evaluate: int = 0  # train seeds 0, 1, ..., so many, which nothing was tuned on; in [0, 10000]
    jobs: int = 0  # seeds that train at a time (0: as many as cores); in [0, 4096]
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where it was created


@dataclass(frozen=True)
class Compare:
    """Compare the best trials of a study, as rlgen compare does."""

    study: str  # its name
    top: int = 5  # trials, the best ones; in [1, 10**6]
    out: tuple[str, ...] = ()  # files to write: .html .md .tex .csv .json .png .svg .pdf
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where it was created


@dataclass(frozen=True)
class Clean:
    """Remove the checkpoints of trials that lost; their rows stay."""

    study: str  # its name
    yes: bool = False  # do not only say what would go
    runs_dir: str = "runs"  # where it was created


KINDS = {"create": Create, "work": Work, "show": Show, "best": Best, "compare": Compare, "clean": Clean}


def parse(words: Sequence[str]) -> Any:
    """The word that says which, then its flags."""
    if not words or words[0] not in KINDS:
        if words and words[0] in ("-h", "--help"):
            lines = [f"  {what:8} {kind.__doc__}" for what, kind in KINDS.items()]
            print("\n".join([f"usage: {USAGE}", "", *lines, "", "rlgen study WHAT --help shows its flags."]))
            raise SystemExit(0)
        raise UsageError(f"study what? {USAGE}")
    what, *rest = words
    if what == "create":
        return parse_create(rest)
    own = options_of(what)
    kind: Any = KINDS[what]
    return kind(**check_layer(flags.parse(f"study {what}", own, rest, str(kind.__doc__)), own, f"study {what}"))


USAGE = f"rlgen study {'|'.join(KINDS)} NAME [flags]"


def options_of(what: str) -> dict[str, Option]:
    """The options of one of `KINDS`."""
    parsed = parsed_module.parse(__name__, commands.files()["study"])
    return dict(read_options(parsed, KINDS[what].__name__)[0])


@dataclass(frozen=True)
class Creating:
    """A study that is to be made."""

    own: Create
    resolved: config.Resolved


def parse_create(words: Sequence[str]) -> Creating:
    """The flags of the study, of every run and of the algorithm."""
    own = options_of("create")
    known, absent = dict(own), {}
    if algo := _algo(words):
        algorithm = algorithms.find(algo)
        known = own | {name: option for name, option in config.options(algorithm).items() if name not in own}
        absent = config.absent(algorithm) | {"seed": "a study has --seeds", "name": "a study's runs have its name"}
        for name in ("seed", "name"):
            del known[name]
    elif not {"-h", "--help"} & {*words}:
        raise UsageError(f"which algorithm? Give --algo, one of {', '.join(algorithms.names())}")
    given = flags.parse("study create", known, words, str(Create.__doc__), absent=absent)
    created = Create(**check_layer({key: given.pop(key) for key in own if key in given}, own, "study create"))
    layers = {"config": created.config, "no_preset": created.no_preset}
    return Creating(created, config.resolve(created.algo, given | layers))


def _algo(words: Sequence[str]) -> str:
    """The algorithm that is named."""
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == "--algo":
            return value if equals else "".join(words[place + 1 : place + 2])
    return ""


def run(options: Any) -> Any:
    """One of `KINDS`."""
    from rlgen.study import record

    record.require()
    if isinstance(options, Creating):
        return create(options)
    study = record.read(options.study, options.runs_dir)
    if isinstance(options, Work):
        return work(study, options.jobs)
    if isinstance(options, Best):
        return best(study, options)
    if isinstance(options, Compare):
        from rlgen.commands import compare
        from rlgen.study.best import leaders

        paths = tuple(map(str, leaders(study, options.top)))
        return compare.run(compare.Options(run=paths, out=options.out, json=options.json))
    if isinstance(options, Clean):
        from rlgen.study.best import clean

        num, size = clean(study, dry=not options.yes)
        gone = f"checkpoints of {num} runs, {size}"
        return f"removed {gone}" if options.yes else f"--yes removes {gone}"
    from rlgen.study.show import shown

    return shown(study, options.json)


def create(creating: Creating) -> str:
    """Say what it costs, and make it."""
    from rlgen.study import cost, plan

    own, resolved = creating.own, creating.resolved
    if resolved.algorithm.kind == "agent":
        from rlgen.envs.find import check_env_id

        check_env_id(resolved.values["env"])
    given = asdict(own) | {"seeds": " ".join(own.seeds)}
    asked = plan.Asked(**{field.name: given[field.name] for field in fields(plan.Asked)})
    study = plan.plan(own.study, own.runs_dir, resolved, asked)
    of_a_run = cost.expected(study)
    print(cost.whole(study, of_a_run, cores()), flush=True)
    if own.dry_run:
        return "nothing was made (--dry-run)"
    study = plan.create(study, of_a_run)
    where = [] if own.runs_dir == "runs" else ["--runs-dir", own.runs_dir]
    worker = shlex.join(["rlgen", "study", "work", study.name, *where])
    return f"\nstudy {study.name} is in {study.path}; train it: {worker}"


def work(study: Any, jobs: int) -> str:
    """Say how long it takes, train, and say what is best."""
    from rlgen.study import cost, show, storage, worker

    with storage.opened(study) as found:
        waiting = worker.states(found)["WAITING"]
    if waiting and "cost" in study.record:
        about = cost.when(study, study.record["cost"], waiting, jobs or cores())
        print(f"{waiting} trials wait; about {about}", flush=True)
    worker.work(study, jobs or cores())
    return show.best_line(study)


def best(study: Any, options: Best) -> Any:
    """Write the preset, and train fresh seeds where that is asked for."""
    from rlgen.study import best, show

    row = show.best(study)
    path = best.preset(study, row)
    found = {"trial": row["trial"], study.record["metric"]: row["score"], "values": row["params"], "preset": str(path)}
    if options.evaluate:
        found |= best.both(study, row, best.evaluate(study, row, options.evaluate, options.jobs or cores()))
    return found


def cores() -> int:
    """CPU cores that this process may use; without torch's seconds."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
