"""The flags of each word behind `rlgen study`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlgen.options import parsed_module
from rlgen.options.fields import Option, read_options


@dataclass(frozen=True)
class New:
    """What is said of a study that is made. It takes the flags of every run and of the algorithm, too."""

    study: str  # its name
    over: tuple[str, ...] = ()  # what is tried
    seeds: tuple[str, ...] = ()  # A:B is A to B - 1; or a list, 1,2,3
    metric: str | None = None  # NAME:higher or NAME:lower (None: eval/episodic_return, of images eval/nll)
    trial_minutes: float | None = None  # a trial that takes longer has failed; in (0, inf)
    heartbeat: int = 30  # seconds between signs of life; a trial without three of them is another's; in [1, 3600]
    storage: str | None = None  # for several machines: postgresql://USER@HOST/DATABASE (None: SQLite in the study)
    config: str | None = None  # YAML or TOML file of options: above the preset, below the flags
    no_preset: bool = False  # leave out the tuned values of this environment or data set
    dry_run: bool = False  # say what it will cost, and stop
    runs_dir: str = "runs"  # the study is, or goes, into its folder studies


@dataclass(frozen=True)
class Create(New):
    """Make a study, and say what it will cost. It takes the flags of every run and of the algorithm, too."""

    algo: str = ""  # the algorithm, of rlgen list algos
    over: tuple[str, ...] = ()  # what is tried, as lr=1e-4:1e-2:log n_step=1:20 hidden=64,64/128,128
    seeds: tuple[str, ...] = ("100:103",)  # of each trial: A:B is A to B - 1; or a list, 1,2,3
    trials: int | None = None  # how many (None: 20, of a grid all); in [1, 10**6]
    sampler: Literal["tpe", "random", "grid", "cmaes"] = "tpe"  # what chooses the values; cmaes: only of numbers
    prune: Literal["none", "median"] = "none"  # median: end a trial that is below the median of others at a rung
    rungs: int | None = None  # with --prune: parts of a run, each judged by its seeds' mean (None: 5); in [1, 100]
    prune_from: int = 1  # the first rung that is judged, as early scores say little; in [1, 100]
    second: Literal["none", "parameters"] = (
        "none"  # parameters: fewer in the networks are better, too; not with --prune
    )


@dataclass(frozen=True)
class Ablate(New):
    """Train a full grid of factors and say which one matters; with the name of one, show that."""

    study: str  # an algorithm, with --over; without, the name of an ablation that there is
    over: tuple[str, ...] = ()  # the factors, as optimizer,norm n_step=1/3/20
    tune: tuple[str, ...] = ()  # values tried for each level of a factor first, as optimizer:lr=1e-4/1e-3
    name: str | None = None  # of the new study (None: ablate-ALGO)
    seeds: tuple[str, ...] = ("0:5",)  # of each cell: A:B is A to B - 1; or a list, 1,2,3
    tuning_seeds: tuple[str, ...] = ("100:103",)  # of --tune, others than --seeds
    json: bool = False  # the tables as one JSON document on stdout


@dataclass(frozen=True)
class Work:
    """Train trials of a study until none is left. Start it as often as you like."""

    study: str  # its name
    jobs: int = 0  # seeds that train at a time (0: as many as cores); in [0, 4096]
    retry_failed: bool = False  # trials that failed are trained again, once what they failed for is mended
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


KINDS: dict[str, Any] = {
    "create": Create,
    "ablate": Ablate,
    "work": Work,
    "show": Show,
    "best": Best,
    "compare": Compare,
    "clean": Clean,
}


def options_of(what: str) -> dict[str, Option]:
    """The options of one of `KINDS`."""
    return dict(read_options(parsed_module.parse(__name__, Path(__file__)), KINDS[what].__name__)[0])
