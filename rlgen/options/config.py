"""A run's configuration: defaults < wandb's variables < preset < --config FILE < flags, checked, and where it is from.

The options of a run are the fields of `RunConfig` and of the algorithm's `Config`, on one level; `fields.py` says what
their comments mean. No torch here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlgen.data.preparation import Preparation
from rlgen.errors import UsageError
from rlgen.options import parsed_module
from rlgen.options.algorithms import Algorithm, find, names
from rlgen.options.checks import FLAG, check_layer, check_limits, check_name, check_value, shown
from rlgen.options.derived import frames, periods
from rlgen.options.environment import from_environment
from rlgen.options.fields import Option, read_options
from rlgen.options.files import preset_for, read_file

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")  # of a run: no leading dot or dash, neither hidden nor a flag
TARGET = {"agent": "env", "generative": "data"}  # the option that says what is learned, and chooses the preset
AGENT_ONLY = (
    *("env", "num_envs", "vectorization", "step_timeout", "env_check", "frame_stack", "atari", "rescale_actions"),
    *("normalize_obs", "normalize_reward", "time_in_obs"),
    *("obs", "obs_layout", "network"),
    *("eval_episodes", "eval_max_episode_steps", "video"),
    *("env_kwargs", "eval_env_kwargs", "wrapper", "max_episode_steps"),
)
GENERATIVE_ONLY = (
    *("data", "data_dir", "max_memory", "epochs", "eval_samples"),
    *(field.name for field in dataclasses.fields(Preparation)),
)
SHARED = {"core/optimizer.py": "OptimizerOptions", "nets/layers.py": "NetworkOptions"}  # options to extend
LAYERS = ("default", "preset", "file", "flag")  # each above those before it
KIND_DEFAULTS: dict[str, dict[str, Any]] = {
    "agent": {"env": "CartPole-v1", "steps": 100_000},
    "generative": {"data": "digits", "steps": 600_000},
}


@dataclasses.dataclass(frozen=True)
class RunConfig(Preparation):
    """What every run has, whatever the algorithm."""

    # fixed: its episodes
    env: str | None = None  # Gymnasium id, module:Env-v0, or module:Class of a file here or a package
    # fixed: its episodes
    # other scores: arguments of the environment
    env_kwargs: dict | None = None  # arguments of the environment's constructor, as size=5 goal=[1,2]
    # fixed: its episodes
    # other scores: wrappers
    wrapper: tuple[str, ...] = ()  # round the environment, the first one innermost: module:Class or module:Class(n=4)
    # fixed: its episodes
    # other scores: episode length limit
    max_episode_steps: int | None = None  # cut every episode there (None: the environment's own limit); in [1, 10**12]
    # fixed: what its networks know
    data: str | None = None  # data set: digits, mnist, fashion-mnist, cifar10, a folder of images, an .npz, IDX files
    # learns the same
    data_dir: str | None = None  # where its files are looked for (None: $RLGEN_DATA, then the user's cache)
    # learns the same
    max_memory: str | None = None  # that reading its images may take, as 8GB or 500MiB (None: what is at hand)
    steps: int = 100_000  # length of the run: environment steps over all envs, or training images; in [1, 10**12]
    # learns the same
    epochs: float | None = None  # length in passes over the training images, instead of steps; in (0, 10**6]
    # fixed: its random numbers
    seed: int = 1  # of networks, data, episodes and noise; in [0, 2**63)
    # fixed: its episodes
    # at most steps: the run ends before every environment has stepped
    # divided by ranks
    num_envs: int = 1  # environments stepped together; in [1, 65536]
    # fixed: its episodes
    # learns the same
    vectorization: Literal["auto", "sync", "async", "native"] = "auto"  # how they are stepped
    # learns the same
    step_timeout: float = 300.0  # seconds a step may take; a hung environment ends the run (0: never); in [0, 10**6]
    # learns the same
    env_check: bool = True  # try an environment before the run: reset, step, what they return, and masks of actions
    # fixed: networks of other inputs
    frame_stack: int | None = None  # newest frames in an observation (None: 4 of Atari, else 1, as it is); in [1, 64]
    # fixed: networks of other inputs
    atari: Literal["standard", "life-loss", "raw"] = "standard"  # the standard task, with an episode a life, or neither
    # fixed: what its actions mean
    # learns the same
    rescale_actions: bool = True  # of [-1, 1] to bounds of a Box that are far from these; else they are clipped alone
    # fixed: networks of other inputs
    time_in_obs: bool = False  # append the share of the time limit that has passed; reaching it is then a termination
    # fixed: statistics of its inputs
    normalize_obs: bool = False  # learn from observations less their running mean, over their standard deviation
    # fixed: statistics of its inputs
    normalize_reward: bool = False  # learn from rewards over the standard deviation of the discounted return
    # fixed: networks of other inputs
    obs: Literal["auto", "image", "flat", "old"] = "auto"  # what arrays are: pictures or numbers (old: by shape alone)
    # fixed: networks of other inputs
    obs_layout: Literal["auto", "chw", "hwc"] = "auto"  # axes of pictures (auto: the smallest one are the channels)
    # fixed: its networks
    network: Literal["auto", "mlp", "small_cnn", "nature_cnn", "impala"] = "auto"  # of pictures (auto: by their size)
    # learns the same
    device: Literal["auto", "cpu", "cuda"] = (
        "auto"  # where networks and buffer live; auto: a GPU if there is one, but for small MLPs
    )
    # learns the same
    threads: int = 0  # CPU threads of torch (0: chosen by the network and the machine); in [0, 1024]
    precision: Literal["float32", "tf32", "bf16"] = "tf32"  # of matrix products: tf32 is float32 except on a GPU
    # learns the same
    graph: bool = True  # record gradient steps and run the recording, where that is possible
    # learns the same
    compile: Literal["auto", "always", "never"] = "auto"  # recorded steps as machine code, on a GPU fused kernels
    # learns the same
    verify_graph: int = 0  # recorded steps compared with eager ones, besides the 1st, 10th, 100th, ...; in [0, inf)
    # learns the same
    name: str | None = None  # of the run: letters, digits, . _ - (None: made of env or data, algo, seed and time)
    # learns the same
    runs_dir: str = "runs"  # directory the run's own directory is made in
    # learns the same
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"  # auto is online if logged in, else offline
    # learns the same
    wandb_project: str = "rlgen"  # Weights & Biases project; $WANDB_PROJECT comes before the default
    # learns the same
    wandb_entity: str | None = None  # user or team (None: $WANDB_ENTITY, then the account's own)
    # learns the same
    wandb_group: str | None = None  # of runs (None: $WANDB_RUN_GROUP, then env or data, and algo)
    # learns the same
    wandb_tags: tuple[str, ...] = ()  # beside our own; $WANDB_TAGS, with commas, where none are given
    # learns the same
    wandb_private: bool = False  # send wandb no host name, path, package list, command, code or git state
    # learns the same
    log_every: int | None = None  # steps between rows of metrics (None: steps / 200); in [1, 10**12]
    # learns the same
    eval_every: int | None = None  # steps between evaluations (None: steps / 10); in [1, 10**12]
    # other scores in eval/: evaluation episodes
    eval_episodes: int = 10  # greedy episodes of an evaluation; in [1, 100000]
    # learns the same
    # other scores in eval/: arguments of the evaluations' environments
    eval_env_kwargs: dict | None = None  # of evaluations alone, above env_kwargs
    # other scores in eval/: episode length limit of evaluations
    eval_max_episode_steps: int = 27_000  # of evaluations alone, where there is no other limit; in [1, 10**12]
    # learns the same
    eval_samples: int = 2_000  # compared with held-out images, at the end 10,000 (0: never); in [0, 10**6]
    # learns the same
    video: bool = False  # record the first episode of every evaluation, for videos/ and wandb
    # learns the same
    checkpoint_every: int | None = None  # steps between checkpoints (None: steps / 10); in [1, 10**12]
    # learns the same
    checkpoint_minutes: float | None = None  # and at most so long between them (None: no matter how long); in (0, inf)
    # learns the same
    keep: int = 2  # newest checkpoints that are kept, beside the best one; in [1, 10**6]


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A configuration that can run."""

    algorithm: Algorithm
    values: dict[str, Any]  # every option of the run and of the algorithm
    origin: dict[str, str]  # where each is from: "default", "environment", "preset", "file" or "flag"
    preset: str | None  # the preset's file and table, where one applied

    @property
    def config(self) -> dict[str, Any]:
        """Flat, as in config.json and in wandb: `algo`, `exp_name`, `env_id` or `data`, and the values."""
        renamed = {"env_id" if name == "env" else name: value for name, value in self.values.items()}
        return {"algo": self.algorithm.name, "exp_name": self.algorithm.name, **renamed}


def options(algorithm: Algorithm) -> dict[str, Option]:
    """The run's and the algorithm's options by name, less what only the other kind of algorithm has."""
    run = dict(run_options())
    both = [option.name for option in algorithm.options if option.name in run]
    if both:
        raise UsageError(f"{algorithm.path}: Config.{both[0]} is already an option of every run; name it differently")
    elsewhere = absent(algorithm)
    run = {name: option for name, option in run.items() if name not in elsewhere}
    for name, value in KIND_DEFAULTS[algorithm.kind].items():
        run[name] = dataclasses.replace(run[name], default=value)
    return run | {option.name: option for option in algorithm.options}


@cache
def shared_options() -> set[str]:
    """The names of the options that an algorithm has by extending a class of ours."""
    found = set[str]()
    for path, base in SHARED.items():
        parsed = parsed_module.parse(f"rlgen.{path[:-3].replace('/', '.')}", Path(__file__).parents[1] / path)
        found |= read_options(parsed, base)[0].keys()
    return found


@cache
def run_options() -> Mapping[str, Option]:
    """The fields of `RunConfig` by name."""
    return read_options(parsed_module.parse(__name__, Path(__file__)), "RunConfig")[0]


def every_option() -> set[str]:
    """The names of the options of every run and of every algorithm that can be read."""
    found = {*run_options()}
    for name in names():
        with contextlib.suppress(UsageError):
            found |= {option.name for option in find(name).options}
    return found


def absent(algorithm: Algorithm) -> dict[str, str]:
    """The options that only other algorithms have, and why this one does not."""
    lacking = shared_options() - {option.name for option in algorithm.options}
    why = dict.fromkeys(lacking, f"{algorithm.name} does not take it; what it is made of is said in its own file")
    if algorithm.kind == "agent":
        why |= dict.fromkeys(GENERATIVE_ONLY, f"{algorithm.name} is an agent: it learns in an environment, --env ID")
        return why | {"epochs": f"{algorithm.name} is an agent: it trains for --steps, in the environment"}
    return why | dict.fromkeys(AGENT_ONLY, f"{algorithm.name} is generative: it learns from images, --data NAME")


def resolve(algo: str, given: dict[str, Any]) -> Resolved:
    """Put the layers together and check every value.

    Args:
        algo: the algorithm's name.
        given: flags by name, with underscores; `config` (a file) and `no_preset` (bool) are the layers' own.

    Raises:
        UsageError: an unknown name, a value of the wrong type or out of its range, or values that cannot go together.
    """
    algorithm = find(algo)
    known, command, elsewhere = options(algorithm), f"train {algo}", absent(algorithm)
    flags = {name: value for name, value in given.items() if name not in ("config", "no_preset")}
    flags = check_layer(flags, known, command, FLAG, elsewhere)
    path = given.get("config")
    file = {name: value for name, value in read_file(path).items() if (name, value) != ("algo", algo)} if path else {}
    file = check_layer(file, known, command, f"{path}: ", elsewhere)

    target = TARGET[algorithm.kind]
    chosen = str(flags.get(target) or file.get(target) or known[target].default)
    source, tuned = (None, {}) if given.get("no_preset") else preset_for(algorithm, chosen)
    preset = check_layer(tuned, known, command, f"{source}: ", elsewhere)

    values = {name: option.default for name, option in known.items()}
    origin, labels = dict.fromkeys(known, "default"), dict.fromkeys(known, FLAG)
    layers = [
        (from_environment(known), "environment", "environment: "),
        (preset, "preset", f"{source}: "),
        (file, "file", f"{path}: "),
        (flags, "flag", FLAG),
    ]
    for layer, where, label in layers:
        values |= layer
        origin |= dict.fromkeys(layer, where)
        labels |= dict.fromkeys(layer, label)
    if values.get("epochs") is not None:
        if origin["steps"] == origin["epochs"]:
            raise UsageError(f"{shown('epochs', labels['epochs'])} with {shown('steps', labels['steps'])}: give one")
        later = LAYERS.index(origin["steps"]) > LAYERS.index(origin["epochs"])
        values |= {"epochs": None} if later else {"steps": None}
    values |= periods(values) | frames(values)
    check_run_name(values["name"])
    check_limits(known, values, labels)
    return Resolved(algorithm, values, origin, source)


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A run's flat configuration with other values for some options, each as a flag would give it.

    Raises:
        UsageError: an unknown name, one that makes the run's state useless, or a bad value.
    """
    algorithm = find(config["algo"])
    known = options(algorithm)
    for name, value in changes.items():
        check_name(name, known, f"train {algorithm.name}", absent=absent(algorithm))
        checked, option = check_value(known[name], value), known[name]
        if option.fixed and not (option.fixed_at_0 and bool(checked) == bool(config[name])):
            what = f"{name} cannot change{' from 0 or to 0' * option.fixed_at_0}"
            raise UsageError(f"{what}: the checkpoint holds {option.fixed}; train a new run instead")
        config = config | {name: checked}
    if {"steps", "epochs"} <= changes.keys():
        raise UsageError("epochs with steps: give one")
    if changes.keys() & {"steps", "epochs"}:
        other = "epochs" if "steps" in changes else "steps"
        config = config | ({other: None} if other in config else {})
    check_run_name(config["name"])
    check_limits(known, config, {})
    return config


def check_run_name(name: str | None) -> None:
    """Refuse a name that a run cannot have."""
    if name is not None and (not NAME.fullmatch(name) or name == "last"):
        raise UsageError(f"--name {name!r}: must be 1 to 80 letters, digits, . _ - and begin with a letter or digit")


def algorithm_config(learner: type, config: dict[str, Any]) -> Any:
    """The learner's own Config out of a flat configuration; JSON's lists become tuples again."""
    cls = learner.Config  # type: ignore[attr-defined]
    fields = {field.name: config[field.name] for field in dataclasses.fields(cls)}
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
