"""What the JSON files of a run hold, as types that are checked when a file is read.

What has gone through here can be relied on. Entries that are not named here are another version's; they are kept and
not looked at.
"""

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, TypeVar

from rlgen.errors import CheckpointError, DamagedError, UsageError
from rlgen.options.stored import stored
from rlgen.runs import formats
from rlgen.runs.files import read_json
from rlgen.text import warn

T = TypeVar("T")
WORDS = {str: "text", int: "a whole number from 0 on", float: "a finite number", bool: "true or false"}


class Parent(TypedDict):
    """What a run was forked from."""

    run: str
    step: NotRequired[int | None]
    wandb_id: NotRequired[str | None]


class Hardware(TypedDict):
    """The machine."""

    host: NotRequired[str]
    platform: NotRequired[str]
    cpu_cores: NotRequired[int | None]
    gpus: NotRequired[list[str] | None]


class Options(TypedDict):
    """What every run's configuration has; the algorithm's options are checked as flags are."""

    algo: str
    seed: int
    steps: int
    env_id: NotRequired[str | None]
    data: NotRequired[str | None]
    parent: NotRequired[str | Parent | None]


Extended = TypedDict("Extended", {"at": int, "from": int})  # `resume --steps` at a step, from so many before


class Config(TypedDict):
    """config.json."""

    config: Options
    command: NotRequired[str | None]
    spec: NotRequired[dict[str, Any] | None]  # of the environments or the images: `fit` it to its class
    judged: NotRequired[dict[str, Any] | None]  # what scores of samples are made with
    own_files: NotRequired[dict[str, str] | None]  # digests by module: the user's own behind the environment
    wandb_id: NotRequired[str | None]
    wandb_environment: NotRequired[dict[str, str] | None]  # name, job_type and notes that its variables asked for
    created: NotRequired[str | None]
    rlgen_version: NotRequired[str | None]
    git_commit: NotRequired[str | None]
    versions: NotRequired[dict[str, str | None] | None]
    hardware: NotRequired[Hardware | None]
    device: NotRequired[Literal["cpu", "cuda"]]  # where it was when it trained last
    parent: NotRequired[str | Parent | None]
    extended: NotRequired[list[Extended]]
    together: NotRequired[list[int] | None]  # the seeds that were trained in one process


class Best(TypedDict):
    """checkpoints/best.json."""

    metric: str
    value: float
    step: int


class Health(TypedDict):
    """What was thought of a run."""

    verdict: Literal["healthy", "warn", "failed"]
    reason: NotRequired[str]


class Summary(TypedDict):
    """summary.json."""

    status: str
    step: NotRequired[int]
    best: NotRequired[Best | None]
    health: NotRequired[Health]


class Digest(TypedDict):
    """Of a file."""

    sha256: str
    size: int


Files = TypedDict("Files", {"state.pt": Digest})


class Versioned(TypedDict):
    """A manifest of any version."""

    format: int


class Manifest(Versioned):
    """checkpoints/step_.../manifest.json."""

    step: int
    files: Files
    segments: NotRequired[dict[str, int]]  # size by name


def read(path: Path, kind: type[T]) -> T | None:
    """What a file holds, of the type that belongs to it; None where there is no file.

    Raises:
        DamagedError: it holds something else.
    """
    value = read_json(path)
    try:
        return None if value is None else fit(value, kind)
    except ValueError as error:
        raise DamagedError(path, str(error)) from error


def read_config(run: Path) -> tuple[dict[str, Any], list[str]]:
    """config.json of a run in today's format, and the names of options that there are not today.

    Raises:
        DamagedError: something in it cannot be.
        UsageError: it is missing, or a newer rlgen wrote it.
    """
    path = run / "config.json"
    info = read_json(path)
    if info is None:
        raise UsageError(f"{run} is not a run: it has no config.json; see rlgen list runs")
    formats.check(info, run.name)
    try:
        fit(info, Config)
        config, unknown = stored(info["config"])
    except (ValueError, UsageError) as error:
        raise DamagedError(path, str(error)) from error
    return formats.upgraded(info | {"config": config}, run.name), unknown


def read_best(run: Path) -> dict[str, Any] | None:
    """The best evaluation of a run; None without one. A damaged file is said: the checkpoint has it too."""
    try:
        return typing.cast("dict[str, Any] | None", read(run / "checkpoints/best.json", Best))
    except DamagedError as error:
        warn(str(error))
        return None


def read_status(run: Path) -> str:
    """How a run ended; empty where that is not known."""
    try:
        summary = read(run / "summary.json", Summary)
    except DamagedError:  # nothing lies in it that a run needs: it is written again
        return ""
    return summary["status"] if summary else ""


def spec_of(run: Path, info: dict[str, Any], kind: type[T]) -> T:
    """What config.json says of a run's environments or images.

    Raises:
        CheckpointError: nothing; without it, no learner can be made again.
        DamagedError: something else.
    """
    if not info.get("spec"):
        raise CheckpointError(f"config.json of run {run.name} does not describe its data (spec); train it again")
    try:
        return typing.cast(T, fit(info["spec"], kind, "spec"))
    except ValueError as error:
        raise DamagedError(run / "config.json", str(error)) from error


def check_spec(run: str, saved: dict[str, Any] | None, found: Any) -> None:
    """Compare what config.json says of a run's environments or images with those that were made now.

    Args:
        run: its name.
        saved: what config.json says; of an older version it has fewer entries.
        found: the spec of those that were made now.

    Raises:
        UsageError: they differ, so that they are not what the learner knows.
    """
    saved, made = _entries(saved or {}), _entries(json.loads(json.dumps(dataclasses.asdict(found))))
    for name, now in made.items():
        then, now = saved.get(name) or None, now or None
        if then is not None and then != now:
            if name == "sha256":
                raise UsageError(f"not the images that run {run} began with; fork it")
            raise UsageError(f"not what run {run} began with: {name} was {str(then)[:40]} and is {str(now)[:40]}")


def without_masks(info: dict[str, Any]) -> dict[str, Any]:
    """What to add to the options of a run that did not look for masks of actions: not to do so now either.

    Args:
        info: config.json.
    """
    parts = _parts(info.get("spec") or {})
    looked = info["config"].get("env_check", True) or any(part.get("kind") == "mask" for part in parts)
    return {} if looked else {"masks": False}


def _parts(spec: dict[str, Any]) -> list[dict[str, Any]]:
    parts = spec.get("obs_parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _entries(spec: dict[str, Any]) -> dict[str, Any]:
    """Those of a spec, and each of its protocol's; another version of ALE is for `compare` to tell apart."""
    if parts := _parts(spec):
        spec = spec | {"obs_parts": [{"frames": 1, **part} for part in parts]}  # older ones do not say it
    protocol = spec.get("protocol")
    if not isinstance(protocol, dict):
        return spec
    own = {f"protocol's {name}": value for name, value in protocol.items() if name != "ale_py"}
    return {name: value for name, value in spec.items() if name != "protocol"} | own


def fit(value: Any, kind: Any, name: str = "") -> Any:
    """The value, which has that type: a class of this file, a dataclass (made from a dictionary), or a built-in type.

    Raises:
        ValueError: it has not; the message names where.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or (kind is type(None) and value is None):
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        kinds = [one for one in inner if one is not type(None)]
        chosen = [one for one in kinds if isinstance(value, str) == (one is str)]
        return fit(value, (chosen or kinds)[0], name)
    if typing.is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return _fit_record(value, kind, name)
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{name}: must be one of {', '.join(inner)}")
        return value
    if origin is dict:
        return {key: fit(item, inner[1], f"{name}.{key}") for key, item in _of(dict, value, name).items()}
    if origin in (list, tuple):
        items = _of(list, value, name)
        if origin is tuple and inner[-1] is not Ellipsis and len(items) != len(inner):
            raise ValueError(f"{name}: must have {len(inner)} values")
        return origin(fit(item, inner[0], name) for item in items)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        bool: isinstance(value, bool),
        int: number and isinstance(value, int) and value >= 0,
        float: number and math.isfinite(value),
        str: isinstance(value, str),
    }
    if not fits[kind]:
        raise ValueError(f"{name}: must be {WORDS[kind]}")
    return value


def _fit_record(value: Any, kind: Any, name: str) -> Any:
    hints, found = typing.get_type_hints(kind), _of(dict, value, name)
    fields = {} if typing.is_typeddict(kind) else {field.name: field for field in dataclasses.fields(kind)}
    optional = {key for key, field in fields.items() if field.default is not dataclasses.MISSING}
    needed = kind.__required_keys__ if not fields else fields.keys() - optional
    where = f"{name}." if name else ""
    if missing := sorted(needed - found.keys()):
        raise ValueError(f"{where}{missing[0]} is missing")
    if fields and (unknown := sorted(found.keys() - fields.keys())):
        raise ValueError(f"{where}{unknown[0]}: there is no such entry")
    fitted = {key: fit(item, hints[key], where + key) for key, item in found.items() if key in hints}
    return kind(**fitted) if fields else found | fitted


def _of(kind: type, value: Any, name: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name or 'it'}: must be {'an object' if kind is dict else 'a list'}")
    return value


def check_ranks(name: str, info: dict[str, Any], size: int = 1) -> None:
    """Whether as many processes go on with a run as began it.

    Raises:
        UsageError: they do not.
    """
    began = info.get("ranks", 1)
    if began != size:
        how = f"torchrun --nproc-per-node {began} -m rlgen" if began > 1 else "rlgen"
        raise UsageError(f"{began} of torchrun's processes trained {name}, not {size}; go on with: {how} resume {name}")
