"""A study's folder and its file, study.toml: all that a worker on any machine needs to know.

In `runs/studies/NAME/` are study.toml; study.db, Optuna's trials, where the storage is SQLite; `trials/`, the options
of each set of parameters, as `rlgen train --config` reads them; `runs/`, a run for each set of parameters and seed;
`logs/`, what the processes of runs said.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from rlgen.errors import MissingExtraError, UsageError
from rlgen.options import algorithms, config
from rlgen.options.fields import Option
from rlgen.options.files import read_file
from rlgen.options.stored import stored
from rlgen.runs.new import check_name
from rlgen.runs.records import fit
from rlgen.study.factors import Tuning, parse_tuning
from rlgen.study.space import Parameter, parse_space
from rlgen.text import nearest

FOLDER = "studies"  # beside the runs
FORMAT = 1  # of study.toml
TUNING, FINAL = "tuning", "final"  # stages of an ablation


class Cost(TypedDict):
    """What was expected of one run."""

    seconds: float
    disk: int  # bytes


class Record(TypedDict):
    """study.toml."""

    format: int
    algo: str
    over: dict[str, str]  # ranges and choices by option, as they were typed
    options: dict[str, Any]  # those that are no defaults, as a file of options has them
    seeds: list[int]
    trials: int
    metric: str
    direction: Literal["maximize", "minimize"]
    sampler: Literal["tpe", "random", "grid", "cmaes"]
    second: NotRequired[Literal["parameters"]]  # objective
    prune: Literal["none", "median"]
    rungs: int  # parts of a run; seeds wait for each other at their ends
    prune_from: NotRequired[int]  # the first rung at whose end they do; none: 1
    trial_minutes: NotRequired[float]
    heartbeat: int  # seconds
    first: NotRequired[dict[str, Any]]  # the values of trial 0: those of a run without a study
    directory: NotRequired[str]  # where it was created: modules and folders of images are looked for from there
    storage: NotRequired[str]  # URL; none: SQLite in the folder
    tune: NotRequired[list[str]]  # of an ablation, maybe none: options with values of their own for each level
    tuning_seeds: NotRequired[list[int]]  # of an ablation; its final ones are `seeds`
    cost: NotRequired[Cost]


@dataclass(frozen=True)
class Study:
    """A study: its folder, and what its file says."""

    path: Path
    record: Record

    @property
    def name(self) -> str:
        """Its name, which is that of its folder."""
        return self.path.name

    @property
    def again(self) -> str:
        """How to make it anew."""
        return again(self.path)

    @property
    def home(self) -> Path:
        """Where its processes work: where it was created, if that is there on this machine."""
        path = Path(self.record.get("directory", ""))
        return path if path.is_dir() else Path()

    @property
    def runs_dir(self) -> Path:
        """Where its runs are."""
        return self.path / "runs"

    @property
    def is_ablation(self) -> bool:
        """Whether it is a grid whose cells are compared."""
        return "tune" in self.record

    @cached_property
    def _options(self) -> dict[str, Option]:
        return config.options(algorithms.find(self.record["algo"]))

    @cached_property
    def factors(self) -> list[Parameter]:
        """What is tried, without options that are tuned for it."""
        words = [f"{name}={text}" for name, text in self.record["over"].items()]
        return parse_space(words, self._options, "study create")

    @cached_property
    def tuning(self) -> Tuning:
        """What is tuned for each level of a factor of an ablation."""
        return parse_tuning(self.record.get("tune", []), self.factors, self._options)

    @cached_property
    def space(self) -> list[Parameter]:
        """What is tried."""
        return [*self.factors, *self.tuning.space]

    def seeds(self, attributes: Mapping[str, Any]) -> list[int]:
        """The seeds of a trial with these attributes."""
        return self.record["tuning_seeds"] if attributes.get("stage") == TUNING else self.record["seeds"]

    def steps_of_rung(self, rung: int) -> int:
        """The step at which a rung ends; the first one is 1."""
        return self.record["options"]["steps"] * rung // self.record["rungs"]

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a trial that differ from their defaults, as a file of options has them.

        Args:
            params: as Optuna has them.
        """
        tried = {parameter.name: as_in_file(parameter.value(params[parameter.name])) for parameter in self.space}
        return self.record["options"] | tried

    def key(self, params: Mapping[str, Any]) -> str:
        """What names the runs of these parameters, whatever the number of their trial."""
        text = json.dumps([self.record["algo"], self.values(params)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def run_path(self, params: Mapping[str, Any], seed: int) -> Path:
        """The directory of a run."""
        return self.runs_dir / f"{self.name}-{self.key(params)}-{seed}"


def require() -> None:
    """Refuse to begin without the packages of the extra `study`.

    Raises:
        MissingExtraError: one is not installed.
    """
    try:
        import optuna  # noqa: F401
        import tomli_w  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("a study needs packages", "optuna>=5", "tomli-w") from None


def as_in_file(value: Any) -> Any:
    """A value of an option as TOML can hold it, and a file of options is read."""
    if isinstance(value, dict):
        return [f"{name}={json.dumps(item)}" for name, item in value.items()]
    return "None" if value is None else list(value) if isinstance(value, tuple) else value


def to_toml(table: Mapping[str, Any]) -> str:
    """A table as TOML."""
    import tomli_w

    return tomli_w.dumps(table)


def folder(name: str, runs_dir: str | Path) -> Path:
    """Where a study of this name is.

    Raises:
        UsageError: no study can have this name.
    """
    try:
        check_name(name)
    except UsageError:
        raise UsageError(f"study name {name!r}: must be 1 to 60 letters, digits, . _ -") from None
    if len(name) > 60:  # its runs have it in their names
        raise UsageError(f"study name {name!r}: must be 1 to 60 letters, digits, . _ -")
    return Path(runs_dir).resolve() / FOLDER / name


def again(path: Path) -> str:
    """How a study is made anew in the place of one that cannot be used."""
    return f"remove {path}, then create it again"


def names(runs_dir: str | Path) -> list[str]:
    """Of all studies."""
    return sorted(path.parent.name for path in (Path(runs_dir) / FOLDER).glob("*/study.toml"))


def read(name: str, runs_dir: str | Path) -> Study:
    """The study of this name.

    Raises:
        UsageError: there is none, or its file is damaged or of another version.
    """
    path = folder(name, runs_dir)
    file = path / "study.toml"
    if not file.exists():
        there = names(runs_dir)
        hint = nearest(name, there) or (f" There are {', '.join(there)}." if there else " Make one: rlgen study create")
        raise UsageError(f"no study {name!r} in {Path(runs_dir) / FOLDER}.{hint}")
    found = read_file(file)
    if found.get("format") != FORMAT:
        said = found.get("format", "none")
        raise UsageError(f"study {name} has format {said}, and this rlgen reads {FORMAT}: {again(path)}")
    try:
        study = Study(path, fit(found, Record))
        renamed = study.record["options"] | {"algo": study.record["algo"], "seed": 0}
        stored({"env_id" if key == "env" else key: value for key, value in renamed.items()})
        _ = study.space
    except (ValueError, UsageError) as error:
        raise UsageError(f"{file} is damaged: {error}; mend it, or {again(path)}") from error
    return study
