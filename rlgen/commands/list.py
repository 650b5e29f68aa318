"""`rlgen list`: algorithms, environments, data sets, presets, runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlgen.errors import MissingExtraError, RlgenError, UsageError
from rlgen.options import algorithms
from rlgen.options.files import presets
from rlgen.text import Rows, nearest

CHEAP = ("classic_control", "toy_text", "box2d")  # groups made in milliseconds, to see their actions


@dataclass(frozen=True)
class Options:
    """List what there is."""

    what: Literal["algos", "envs", "data", "presets", "runs"]  # the things to list
    word: str = ""  # only those that contain this; several words with blanks, in quotes
    sort: str | None = None  # by this column, smallest or worst first (None: runs by age, the oldest first)
    reverse: bool = False  # the other way round
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> Rows:
    """The rows that hold every word, in the order that was asked for."""
    if options.what == "runs":
        from rlgen.runs.table import COLUMNS, SEARCHED, rows, shown

        found = select(rows(options.runs_dir), COLUMNS, SEARCHED, options)
        found.shown, found.spare = [shown(row) for row in found], ("size", "age", "best", "seed")
        return found
    listed = {"algos": algos, "envs": environments, "data": data_sets, "presets": tuned}[options.what]()
    columns = tuple(listed[0]) if listed else ()
    found = select(listed, columns, columns, options)
    found.spare = ("file", "kind", "presets", "group")
    return found


def select(rows: list[dict[str, Any]], columns: Sequence[str], searched: Sequence[str], options: Options) -> Rows:
    """The rows that hold every word, sorted by a column; empty cells come last either way.

    Args:
        rows: all there are.
        columns: that can be sorted by.
        searched: columns that the words are looked for in.
        options: the words, the column, and the direction.

    Raises:
        UsageError: there is no such column.
    """
    sort = options.sort if rows else None
    if sort and sort not in columns:
        raise UsageError(f"--sort {sort}: must be one of {', '.join(columns)}.{nearest(sort, columns)}")

    def holds(row: dict[str, Any]) -> bool:
        text = " ".join(str(row[column]) for column in searched).lower()
        return all(word in text for word in options.word.lower().split())

    kept = [row for row in rows if holds(row)]
    if sort:
        full = [row for row in kept if row[sort] is not None]
        if options.what == "runs" and sort in ("score", "best"):
            from rlgen.runs.table import sort_runs

            sort_runs(full, sort, options.reverse)
        else:
            numeric = all(isinstance(row[sort], (int, float)) for row in full)
            full.sort(key=lambda row: row[sort] if numeric else str(row[sort]).lower(), reverse=options.reverse)
        kept = full + [row for row in kept if row[sort] is None]
    elif options.reverse:
        kept.reverse()
    return Rows(kept)


def algos() -> list[dict[str, Any]]:
    """Every algorithm: `algo`, `kind`, `presets` that it has, and what it is `about`."""
    found = [algorithms.find(name) for name in algorithms.names()]
    return [{"algo": a.name, "kind": a.kind, "presets": [*presets(a)], "about": a.summary} for a in found]


def tuned() -> list[dict[str, Any]]:
    """Every preset: `algo`, what it is `for`, `file` and `values`."""
    return [
        {"algo": name, "for": key, "file": file, "values": values}
        for name in algorithms.names()
        for key, (file, values) in presets(algorithms.find(name)).items()
    ]


def data_sets() -> list[dict[str, Any]]:
    """Every data set that has a name: `data`, `images` and what it is `about`."""
    from rlgen.data.known import known

    return [{"data": name, "images": shape, "about": about} for name, about, shape in known()]


def environments() -> list[dict[str, Any]]:
    """The newest version of every registered environment: `env`, `group`, `actions`, and what it `needs` installed."""
    import gymnasium as gym

    from rlgen.envs.find import check_env_id
    from rlgen.envs.namespaces import NAMESPACES

    rows: list[dict[str, Any]] = []
    actions = {"mujoco": "continuous"} | {namespace.name: namespace.actions for namespace in NAMESPACES}
    for namespace in NAMESPACES:
        try:
            check_env_id(namespace.example)  # registers its siblings, where the package is installed
        except RlgenError as error:
            row = {"env": namespace.listed, "group": namespace.name, "actions": namespace.actions}
            rows.append(row | {"needs": needed(error)})
    newest: dict[tuple[str | None, str], Any] = {}
    for spec in gym.registry.values():
        if not getattr(spec.entry_point, "__name__", "").startswith("_raise"):  # stands in for a retired environment
            last = newest.setdefault((spec.namespace, spec.name), spec)
            if (spec.version or 0) > (last.version or 0):
                newest[spec.namespace, spec.name] = spec
    for spec in newest.values():
        group = group_of(spec)
        row = {"env": spec.id, "group": group, "actions": actions.get(group, ""), "needs": ""}
        try:
            check_env_id(spec.id)
            if group in CHEAP:
                env = gym.make(spec.id)
                row["actions"] = "discrete" if isinstance(env.action_space, gym.spaces.Discrete) else "continuous"
                env.close()
        except RlgenError as error:
            row["needs"] = needed(error)
        rows.append(row)
    return sorted(rows, key=lambda row: row["group"])


def group_of(spec: Any) -> str:
    """The namespace of an environment, else the part of Gymnasium or the package that defines it."""
    entry = spec.entry_point or spec.vector_entry_point
    parts = (entry if isinstance(entry, str) else entry.__module__).partition(":")[0].split(".")
    return spec.namespace or (parts[2] if parts[:2] == ["gymnasium", "envs"] else parts[0])


def needed(error: RlgenError) -> str:
    """The packages that an error says to install, else what it says."""
    return " ".join(error.packages) if isinstance(error, MissingExtraError) and error.packages else str(error)
