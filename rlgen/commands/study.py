"""`rlgen study create|ablate|work|show|best|compare|clean NAME`: many runs, tuned by Optuna."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlgen.errors import UsageError
from rlgen.options import algorithms, config, flags
from rlgen.options.checks import check_layer
from rlgen.options.shares import check_alone
from rlgen.study.flags import KINDS, Ablate, Best, Clean, Compare, Create, Work, options_of


@dataclass(frozen=True)
class Options:
    """Tune an algorithm: trials of several seeds each, on Optuna, by as many workers as one likes."""

    what: Literal[
        "create", "ablate", "work", "show", "best", "compare", "clean"
    ]  # rlgen study WHAT --help has its flags
    study: str = ""  # its name


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
        if not (algo := _algo(rest)) and not {"-h", "--help"} & {*rest}:
            raise UsageError(f"which algorithm? Give --algo, one of {', '.join(algorithms.names())}")
        return parse_new(what, algo, rest)
    if what == "ablate" and rest and (any(is_over(word) for word in rest) or rest[0] in algorithms.names()):
        return parse_new(what, rest[0], rest)
    own = options_of(what)
    kind: Any = KINDS[what]
    return kind(**check_layer(flags.parse(f"study {what}", own, rest, str(kind.__doc__)), own, f"study {what}"))


def is_over(word: str) -> bool:
    """Whether the word is the flag that says what is tried."""
    return word.partition("=")[0] == "--over"


USAGE = f"rlgen study {'|'.join(KINDS)} NAME [flags]"


@dataclass(frozen=True)
class Creating:
    """A study that is to be made."""

    own: Create | Ablate
    resolved: config.Resolved


def parse_new(what: str, algo: str, words: Sequence[str]) -> Creating:
    """The flags of the study, of every run and of the algorithm."""
    own = options_of(what)
    known, absent = dict(own), {}
    if algo:
        algorithm = algorithms.find(algo)
        known = own | {name: option for name, option in config.options(algorithm).items() if name not in own}
        absent = config.absent(algorithm) | {"seed": "a study has --seeds", "name": "a study's runs have its name"}
        for name in {"seed", "name"} - {*own}:
            del known[name]
    given = flags.parse(f"study {what}", known, words, str(KINDS[what].__doc__), absent=absent)
    layer = {key: given.pop(key) for key in own if key in given}
    created = KINDS[what](**check_layer(layer, own, f"study {what}"))
    layers = {"config": created.config, "no_preset": created.no_preset}
    return Creating(created, config.resolve(algo, given | layers))


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

    check_alone("study")
    record.require()
    if isinstance(options, Creating):
        return create(options)
    study = record.read(options.study, options.runs_dir)
    if isinstance(options, Work):
        with contextlib.chdir(study.home):
            return work(study, options.jobs, options.retry_failed)
    if isinstance(options, Best):
        return best(study, options)
    if isinstance(options, Ablate):
        from rlgen.study import effects

        return effects.found(study) if options.json else effects.shown(study)
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
    from rlgen.study import effects, pareto, show

    trials = show.shown(study, options.json)
    if options.json:
        return trials | ({"pareto": [row["trial"] for row in pareto.front(study)]} if "second" in study.record else {})
    more = [effects.shown(study)] if study.is_ablation else [pareto.shown(study)] if "second" in study.record else []
    return "\n\n".join([trials, *more])


def create(creating: Creating) -> str:
    """Say what it costs, and make it."""
    from rlgen.study import cost, plan

    own, resolved = creating.own, creating.resolved
    if resolved.algorithm.kind == "agent":
        from rlgen.envs.find import check_env_id

        check_env_id(resolved.values["env"])
    name = own.study if isinstance(own, Create) else own.name or f"ablate-{resolved.algorithm.name}"
    study = plan.plan(name, own.runs_dir, resolved, plan.asked(own))
    of_a_run = cost.expected(study)
    print(cost.whole(study, of_a_run, cores()), flush=True)
    if own.dry_run:
        return "nothing was made (--dry-run)"
    study = plan.create(study, of_a_run)
    where = [] if own.runs_dir == "runs" else ["--runs-dir", own.runs_dir]
    worker = shlex.join(["rlgen", "study", "work", study.name, *where])
    return f"\nstudy {study.name} is in {study.path}; train it: {worker}"


def work(study: Any, jobs: int, retry_failed: bool) -> str:
    """Say how long it takes, train, and say what is best."""
    from rlgen.study import cost, show, storage, worker

    if retry_failed:
        print(f"{worker.retry_failed(study)} trials that failed wait again", flush=True)
    with storage.opened(study) as found:
        waiting = worker.states(found)["WAITING"]
    if waiting and (of_a_run := cost.now(study)):
        about = cost.when(study, of_a_run, waiting, jobs or cores())
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
