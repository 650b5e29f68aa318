"""Train, go on, fork: what the command line and a notebook both call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rlgen.assemble import build_buffer, build_learner, build_source, choose_executor, placed
from rlgen.core import loop
from rlgen.core.buffer import Buffer
from rlgen.core.evaluation import catch_up
from rlgen.core.image_source import ImageSource
from rlgen.core.learner import Agent, Learner
from rlgen.core.watched import check_rules
from rlgen.data.given import hold
from rlgen.envs import watch
from rlgen.envs.given import hold as hold_env
from rlgen.envs.given import hold_wrappers
from rlgen.errors import UsageError
from rlgen.options.config import changed, resolve
from rlgen.options.derived import in_steps
from rlgen.runs import exactness, notes, preflight, stopping
from rlgen.runs.find import find
from rlgen.runs.log import RunLog
from rlgen.runs.records import check_ranks, check_spec, without_masks
from rlgen.runs.run import Run
from rlgen.speed import machine_code
from rlgen.speed.device import few_collections, pick_device
from rlgen.speed.recorded import Recorded
from rlgen.speed.stacked import Together
from rlgen.text import warn


def build(config: dict[str, Any], runs: int = 1) -> tuple[Learner, Any, Buffer]:
    """The three nouns of a run, seeded.

    Args:
        config: flat; the run's options, the algorithm's options, and `algo`. `steps` are filled in where they are None:
            those of its `epochs`; `compile` becomes what was chosen.
        runs: that will do as this one, one after the other or side by side, each in a process of its own.
    """
    source = build_source(config)
    try:
        if isinstance(source, ImageSource):
            config |= in_steps(config, len(source.data.train))
        learner = build_learner(config, source.spec)
        config["compile"] = choose_executor(config, learner, source.spec, runs)
        return learner, placed(source, learner.device), build_buffer(learner, source.spec)
    except BaseException:
        source.close()
        raise


@contextmanager
def built(
    config: dict[str, Any], folder: str | Path, runs: int = 1, quiet: bool = False, at_once: int | None = None
) -> Iterator[tuple[Learner, Any, Buffer]]:
    """What `build` builds, closed at the end, under a watch over environments that hang.

    Args:
        config: flat.
        folder: the run's, or the one that it will be made in: whether it has room there is checked first.
        runs: that are going to be trained.
        quiet: another of them has said what may be too little.
        at_once: of them, as `preflight.check` takes it.
    """
    with watch.watching(config.get("step_timeout", 0)):
        learner, source, buffer = build(config, 1 if at_once is None else runs)
        with closing(source):
            need = preflight.needs(config, learner, source, buffer)
            preflight.check(need, Path(folder), learner.device, runs, quiet, at_once)
            yield learner, source, buffer


def settled(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the device that `auto` means, which the networks decide on where there is a GPU."""
    if config["device"] != "auto":
        return config
    if pick_device("auto").type == "cpu":
        return config | {"device": "cpu"}
    learner, source, _ = build(dict(config))
    source.close()
    return config | {"device": learner.device.type}


def train(algo: str, *, quiet: bool = False, **options: Any) -> Run:
    """Train an algorithm: what `rlgen train` does. `start_seeds` trains several seeds at once.

    Args:
        algo: a name of `rlgen list algos`.
        quiet: no progress bar and no summary.
        **options: the flags of `rlgen train ALGO`, with underscores: `env="CartPole-v1"`, `steps=10_000`, `lr=1e-3`.
            `data` may also be images: an array [N, H, W, C], (images, labels), or a dictionary as in an `.npz`. `env`
            may also be a class of an environment, or a function that returns one; `wrapper` a class, or a function of
            the environment, or a list of these and of text.

    Returns:
        The finished run: `run.path`, `run.name`, `run.config`.
    """
    if "data" in options and not isinstance(options["data"], (str, Path)):
        options["data"] = hold(options["data"])
    if "env" in options:
        options["env"] = hold_env(options["env"])
    if options.get("wrapper"):
        options["wrapper"] = hold_wrappers(options["wrapper"])
    return start(resolve(algo, options).config, quiet=quiet)


def start(
    config: dict[str, Any],
    command: Sequence[str] | None = None,
    quiet: bool = False,
    kind: type[Run] = Run,
    beside: tuple[int, int | None] = (1, None),
    with_notes: bool = False,
) -> Run:
    """Train from a resolved flat configuration in a new run directory, as `start_seeds` does.

    Args:
        config: flat.
        command: what the user typed.
        quiet: no progress bar and no summary.
        kind: of run.
        beside: the `runs` and `at_once` of `built`.
        with_notes: say what is noteworthy, also where it is quiet.
    """
    with built(config, config["runs_dir"], beside[0], quiet and not with_notes, beside[1]) as (learner, source, buffer):
        run = kind.create(config["runs_dir"], config["name"], config, command, asdict(source.spec))
        notes.keep_files(run.info, source)
        run_to_end(run, learner, source, buffer, quiet, with_notes=with_notes)
    return run


def start_seeds(
    config: dict[str, Any],
    seed_range: Sequence[int],
    command: Sequence[str] | None = None,
    quiet: bool = False,
    kind: type[Run] = Run,
) -> dict[int, Run | BaseException]:
    """Train one run a seed, side by side in this process, each in a directory of its own.

    A run that fails, as one that diverges does, does not stop the others.

    Args:
        config: as of `start`; a `name` gets the seed at its end.
        seed_range: the seeds.
        command: what the user typed.
        quiet: no progress bar and no summaries.
        kind: of run.

    Returns:
        By seed the finished run, or what ended it.
    """
    on_gpu = settled(config)["device"] == "cuda"
    together = Together(config["verify_graph"])

    def body(seed: int) -> Run:
        stopping.check()
        name = config["name"] and f"{config['name']}-{seed}"
        own = {**config, "seed": seed, "name": name} | ({} if on_gpu else {"compile": "never"})
        first = seed == seed_range[0]
        with built(own, config["runs_dir"], len(seed_range), not first) as (learner, source, buffer):
            if isinstance(learner.executor, Recorded):
                together.record = learner.executor.record if on_gpu else None
                learner.executor = together
            run = kind.create(config["runs_dir"], name, own, command, asdict(source.spec))
            notes.keep_files(run.info, source)
            if len(seed_range) > 1:
                run.info["together"] = list(seed_range)
            run_to_end(run, learner, source, buffer, quiet or not first)
        return run

    with stopping.handling():
        return dict(zip(seed_range, together.run([partial(body, seed) for seed in seed_range]), strict=True))


def resume(
    run: str,
    runs_dir: str = "runs",
    steps: int | None = None,
    quiet: bool = False,
    data: Any = None,
    max_memory: str | None = None,
    env: Any = None,
    wrapper: Any = None,
    device: str | None = None,
) -> Run:
    """Continue a run from its last good checkpoint, as if it had never stopped.

    Args:
        run: a name, a directory, a unique prefix, or `last`.
        runs_dir: where names are looked for.
        steps: a new length; None is its own.
        quiet: no progress bar and no summary.
        data: of a run on images that were passed from Python: the images again.
        max_memory: that reading images may take; None is what is at hand on this machine.
        env: of a run in an environment that was passed from Python, and that no other process can import: it again.
        wrapper: the same of wrappers, one or a list.
        device: cpu, cuda or auto; None is where it was, or the CPU where `auto` had found a GPU and there is none.
    """
    if data is not None:
        hold(data)
    opened = Run.open(find(run, runs_dir), steps, max_memory)
    check_ranks(opened.name, opened.info)
    if env is not None:
        hold_env(env, opened.config["env_id"])
    if wrapper is not None:
        hold_wrappers(wrapper, opened.config["wrapper"])
    opened.info["device"] = exactness.last_device(opened.info)
    if device is not None:
        opened.config["device"] = device
    own = opened.config | {"device": exactness.device_of(opened.info, asked=device)} | without_masks(opened.info)
    with built(own, opened.path) as (learner, source, buffer):
        check_spec(opened.name, opened.info.get("spec"), source.spec)
        notes.say_changed_files(opened.name, opened.info, source)
        run_to_end(opened, learner, source, buffer, quiet, restore=True)
    return opened


def fork(
    run: str,
    changes: dict[str, Any],
    runs_dir: str = "runs",
    name: str | None = None,
    checkpoint: str = "last",
    command: Sequence[str] | None = None,
    quiet: bool = False,
) -> Run:
    """Begin a new run where a checkpoint of another stands, with other options; the other stays as it is.

    Args:
        run: a name, a directory, a unique prefix, or `last`.
        changes: options by name, `steps` among them, as flags would give them.
        runs_dir: where the run is looked for and the new one is made.
        name: of the new run; None as in `train`.
        checkpoint: `last`, `best`, or a step.
        command: what the user typed.
        quiet: no progress bar and no summary.
    """
    parent = Run.open(find(run, runs_dir))
    check_ranks(parent.name, parent.info)
    config = changed(parent.config, changes) | {"name": name, "runs_dir": runs_dir}
    own = config | without_masks(parent.info)
    with built(own, runs_dir) as (learner, source, buffer):
        config["steps"] = own["steps"]  # of images, epochs may have said it
        if isinstance(learner, Agent):
            check_spec(parent.name, parent.info.get("spec"), source.spec)
            notes.say_changed_files(parent.name, parent.info, source)
        parent.restore_learner(learner, checkpoint, whole=True)  # what does not fit leaves no directory behind
        if config["steps"] <= parent.step:
            asked = f"epochs {config['epochs']:g} are steps" if config.get("epochs") else "steps"
            more = "more epochs" if config.get("epochs") else "--steps"
            raise UsageError(f"{asked} {config['steps']}: {parent.name} stands at {parent.step} already; give {more}")
        forked = Run.create(runs_dir, name, config, command, asdict(source.spec), parent)
        notes.keep_files(forked.info, source)
        forked.info["device"] = exactness.last_device(parent.info)
        if not quiet:
            notes.say(source, config)
        run_to_end(forked, learner, source, buffer, quiet, restore=True)
    return forked


def run_to_end(
    run: Run,
    learner: Learner,
    source: Any,
    buffer: Buffer,
    quiet: bool,
    restore: bool = False,
    with_notes: bool = False,
) -> None:
    """Train until the run ends or fails, under its lock, with its log open; `restore` goes on from its checkpoint."""
    silent = quiet and not with_notes
    metric = "eval/episodic_return" if isinstance(learner, Agent) else "eval/nll"
    notes.keep_judged(run.info, source)
    watched = check_rules(learner.watched, type(learner).__name__)
    level, moved = exactness.note(run.info, source), exactness.moved(run.info, learner.device.type)
    with run.running(), few_collections(), machine_code.asking(run.give_up):
        log = RunLog(run, run.config["wandb"], metric, quiet=quiet, watched=watched)
        try:
            if restore:
                run.restore(learner, source, buffer, log)
                if moved:
                    run.resumed, level = "approximate", f"approximate ({moved})"
                exactness.say_resumed(run, level, quiet)
                run.raise_if_interrupted()
                catch_up(learner, source, buffer, run, log)
            elif not silent:
                notes.say(source, run.config)
                notes.say_device(learner, run.config)
                if source.restores == "approximate":
                    warn(f"a resume will be {level}: {exactness.LEVELS[source.restores]}", note=True)
            if not silent:
                preflight.say_end(learner, source, run.steps, run.step)
            loop.train(learner, source, buffer, run, log)
            if not learner.num_updates:
                warn(f"nothing was learned: {run.config['algo']} took no update in {run.step:,} steps")
            run.export(learner)
        except BaseException as error:
            log.close(getattr(error, "exit_code", 1), error)
            raise
        log.close()
