"""A run's configuration: defaults < preset < --config FILE < flags, every value checked, and where each came from.

The options of a run are the fields of `RunConfig` and of the algorithm's `Config`, on one level. The comment at the end
of a field's line is its help, and the bound in it, `in [0, 1)`, is what is checked. No torch here.
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, Literal

from rlgen.errors import UsageError
from rlgen.options import algorithms as registry
from rlgen.options.algorithms import Algorithm, Option
from rlgen.options.flags import check, shown, unknown
from rlgen.runs.run import NAME, PERIODS

AGENT_ONLY = ("env", "num_envs", "vectorization", "eval_episodes", "video")
GENERATIVE_ONLY = ("data", "data_dir")
FIXED = {  # options that a fork takes from its parent, and why
    "seed": "its random numbers",
    "env": "its episodes",
    "data": "what its networks know",
    "num_envs": "its episodes",
    "vectorization": "its episodes",
    "hidden": "networks of other sizes",
    "buffer_size": "a buffer of another size",
    "n_step": "a buffer of other windows",
}
KIND_DEFAULTS: dict[str, dict[str, Any]] = {
    "agent": {"env": "CartPole-v1", "steps": 100_000},
    "generative": {"data": "digits", "steps": 600_000},
}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What every run has, whatever the algorithm."""

    env: str | None = None  # Gymnasium id, also module:Env-v0
    data: str | None = None  # data set: digits, mnist, fashion-mnist, cifar10, a folder of images, an .npz, IDX files
    data_dir: str | None = None  # where its files are looked for (None: $RLGEN_DATA, then the user's cache)
    steps: int = 100_000  # length of the run: environment steps over all envs, or training images; in [1, 10**12]
    seed: int = 1  # of networks, data, episodes and noise; in [0, 2**63)
    num_envs: int = 1  # environments stepped together; in [1, 65536]
    vectorization: Literal["auto", "sync", "async", "native"] = "auto"  # how they are stepped
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where networks and buffer live; auto is the GPU if there is one
    threads: int = 0  # CPU threads of torch (0: chosen by the network and the machine); in [0, 1024]
    precision: Literal["float32", "tf32", "bf16"] = "tf32"  # of matrix products: tf32 is float32 except on a GPU
    graph: bool = True  # record gradient steps and replay them, where that is possible
    verify_graph: int = 0  # replays compared with the step as it is, besides the 1st, 10th, 100th, ...; in [0, inf)
    name: str | None = None  # of the run: letters, digits, . _ - (None: made of env or data, algo, seed and time)
    runs_dir: str = "runs"  # directory the run's own directory is made in
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"  # auto is online if logged in, else offline
    wandb_project: str = "rlgen"  # Weights & Biases project
    wandb_private: bool = False  # send wandb no host name, path, package list, command, code or git state
    log_every: int | None = None  # steps between rows of metrics (None: steps / 200); in [1, 10**12]
    eval_every: int | None = None  # steps between evaluations (None: steps / 10); in [1, 10**12]
    eval_episodes: int = 10  # greedy episodes of an evaluation; in [1, 100000]
    video: bool = False  # record the first episode of every evaluation, for videos/ and wandb
    checkpoint_every: int | None = None  # steps between checkpoints (None: steps / 10); in [1, 10**12]


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A configuration that can run."""

    algorithm: Algorithm
    values: dict[str, Any]  # every option of the run and of the algorithm
    origin: dict[str, str]  # where each is from: "default", "preset", "file" or "flag"
    preset: str | None  # the preset's file and table, where one applied

    @property
    def config(self) -> dict[str, Any]:
        """Flat, as in config.json and in wandb: `algo`, `exp_name`, `env_id` or `data`, and the values."""
        renamed = {"env_id" if name == "env" else name: value for name, value in self.values.items()}
        return {"algo": self.algorithm.name, "exp_name": self.algorithm.name, **renamed}


def options(algorithm: Algorithm) -> dict[str, Option]:
    """The run's and the algorithm's options by name, less what only the other kind of algorithm has."""
    source = registry.Source("rlgen.options.config", Path(__file__))
    run = registry.read_options(source, "RunConfig")[0]
    both = [option.name for option in algorithm.options if option.name in run]
    if both:
        raise UsageError(f"{algorithm.path}: Config.{both[0]} is already an option of every run; name it differently")
    absent = GENERATIVE_ONLY if algorithm.kind == "agent" else AGENT_ONLY
    run = {name: option for name, option in run.items() if name not in absent}
    for name, value in KIND_DEFAULTS[algorithm.kind].items():
        run[name] = dataclasses.replace(run[name], default=value)
    return run | {option.name: option for option in algorithm.options}


def presets(algorithm: Algorithm) -> dict[str, tuple[str, dict[str, Any]]]:
    """Tuned values by env id or data name, each with where it is from; an own table replaces an inherited one."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in (*reversed(algorithm.extends), algorithm.path):
        file = path.with_suffix(".toml")
        for key, values in (read_file(file) if file.is_file() else {}).items():
            found[key] = (f"{file.parent.name}/{file.name} [{key}]", values)
    return found


def read_file(path: str | Path) -> dict[str, Any]:
    """The table of a TOML or YAML file.

    Raises:
        UsageError: no such file, not TOML or YAML, or not a table.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix not in (".yaml", ".yml", ".json"):
            raise UsageError(f"{path}: the name of a configuration file must end in .toml, .yaml or .yml")
        import yaml  # 0.1 s, and only for a YAML file

        table = yaml.safe_load(text) or {}
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except Exception as error:  # TOMLDecodeError, UnicodeDecodeError, YAMLError
        raise UsageError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(table, dict):
        raise UsageError(f"{path} must be a table of options, such as `lr: 0.001`")
    return table


def resolve(algo: str, given: dict[str, Any]) -> Resolved:
    """Put the layers together and check every value.

    Args:
        algo: the algorithm's name.
        given: flags by name, with underscores; `config` (a file) and `no_preset` (bool) are the layers' own.

    Raises:
        UsageError: an unknown name, a value of the wrong type or out of its range, or values that cannot go together.
    """
    given = dict(given)
    algorithm = registry.find(algo)
    known = options(algorithm)
    file, no_preset = given.pop("config", None), given.pop("no_preset", False)
    layers = [("file", f"{file}: ", read_file(file) if file else {}), ("flag", "--", given)]
    for origin, label, layer in layers:
        if origin == "file" and layer.get("algo") == algo:
            del layer["algo"]
        for name in layer:
            check_known(algorithm, known, str(name), label)

    target = "env" if algorithm.kind == "agent" else "data"
    chosen = given.get(target) or layers[0][2].get(target) or known[target].default
    preset, tuned = (None, {}) if no_preset else presets(algorithm).get(str(chosen), (None, {}))
    for name in tuned:
        check_known(algorithm, known, name, f"{preset}: ")
    layers.insert(0, ("preset", f"{preset}: ", tuned))

    values = {name: option.default for name, option in known.items()}
    origins, labels = dict.fromkeys(known, "default"), dict.fromkeys(known, "--")
    for origin, label, layer in layers:
        for name, value in layer.items():
            values[name] = check(known[name], value, label)
            origins[name], labels[name] = origin, label
    for what, times in PERIODS.items():
        values[f"{what}_every"] = values[f"{what}_every"] or max(1, values["steps"] // times)
    check_together(values, labels)
    return Resolved(algorithm, values, origins, preset)


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A run's flat configuration with other values for some options, each as a flag would give it.

    Raises:
        UsageError: an unknown name, one that makes the run's state useless, or a bad value.
    """
    algorithm = registry.find(config["algo"])
    known = options(algorithm)
    for name, value in changes.items():
        check_known(algorithm, known, name, "--")
        if name in FIXED:
            raise UsageError(f"{name} cannot change: the checkpoint holds {FIXED[name]}; train a new run instead")
        config = config | {name: check(known[name], value)}
    check_together(config, {})
    return config


def parse_seeds(text: str) -> range:
    """The seeds of `A:B`: A, A + 1, ..., B - 1.

    Raises:
        UsageError: it is not two whole numbers, the second above the first.
    """
    first, _, end = text.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UsageError(f"--seeds {text}: must be A:B with A < B, as in 0:10, which is ten seeds, 0 to 9")
    return range(int(first), int(end))


def algorithm_config(learner: type, config: dict[str, Any]) -> Any:
    """The learner's own Config out of a flat configuration; JSON's lists become tuples again."""
    cls = learner.Config  # type: ignore[attr-defined]
    fields = {field.name: config[field.name] for field in dataclasses.fields(cls)}
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def check_known(algorithm: Algorithm, known: dict[str, Option], name: str, label: str) -> None:
    """Refuse an option that the algorithm does not have."""
    if name in known:
        return
    if name in GENERATIVE_ONLY:
        raise UsageError(f"{shown(label, name)}: {algorithm.name} is an agent: it learns in an environment, --env ID")
    if name in AGENT_ONLY:
        raise UsageError(f"{shown(label, name)}: {algorithm.name} is generative: it learns from images, --data NAME")
    raise unknown(name, known, label, f"train {algorithm.name}")


def check_together(value: dict[str, Any], labels: dict[str, str]) -> None:
    """Refuse values that are each in range and cannot go together."""

    def said(name: str) -> str:
        return f"{shown(labels.get(name, '--'), name)} {value[name]}"

    name = value["name"]
    if name is not None and (not NAME.fullmatch(name) or name == "last"):
        raise UsageError(f"--name {name!r}: must be 1 to 80 letters, digits, . _ - and begin with a letter or digit")
    for small, large, why in (
        ("batch_size", "buffer_size", "a batch cannot be larger than the buffer"),
        ("learning_starts", "buffer_size", "learning would never start"),
        ("num_envs", "steps", "the run ends before every environment has stepped"),
    ):
        if small in value and large in value and value[small] > value[large]:
            raise UsageError(f"{said(small)} with {said(large)}: {why}; lower the first or raise the second")
    starts = value.get("learning_starts")
    if starts is not None and starts >= value["steps"]:
        raise UsageError(f"{said('learning_starts')} with {said('steps')}: nothing would be learned; lower the first")
