"""Options that stand in files: tuned values beside an algorithm, its presets, and a file given with --config."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.files import open_file
from rlgen.options.algorithms import Algorithm

EXAMPLES = {".toml": "lr = 0.001", ".yaml": "lr: 0.001", ".yml": "lr: 0.001", ".json": '{"lr": 0.001}'}  # by suffix
MAX_SIZE = 2**18  # bytes; a parser takes a thousand times that, and every option of a run makes some thousands


def presets(algorithm: Algorithm) -> dict[str, tuple[str, dict[str, Any]]]:
    """Tuned values by env id or data name, each with where it is from; an own table replaces inherited ones.

    A name may be a pattern of several, as ALE/*.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in reversed(with_bases(algorithm)):
        own = tables(path)
        found = {key: value for key, value in found.items() if not matching(own, key)} | own
    return found


def preset_for(algorithm: Algorithm, target: str) -> tuple[str | None, dict[str, Any]]:
    """The tuned values of an env id or a data name, and where they are from.

    An algorithm's file comes before an inherited one, and in a file a table of that name before a pattern.
    """
    for path in with_bases(algorithm):
        found = tables(path)
        if keys := matching(found, target):
            return found[keys[0]]
    return None, {}


def matching(names: Collection[str], target: str) -> list[str]:
    """Which names of tables an env id or a data name has, its own one first."""
    patterns = [name for name in names if "*" in name and fnmatch.fnmatchcase(target, name)]
    return [target, *patterns] if target in names else patterns


def with_bases(algorithm: Algorithm) -> tuple[Path, ...]:
    """The files of an algorithm and of those that it extends, its own first."""
    return (algorithm.path, *algorithm.extends)


def tables(path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """The presets beside the file of an algorithm, each with where it is from."""
    file = path.with_suffix(".toml")
    found = read_file(file) if file.is_file() else {}
    return {key: (f"{file.parent.name}/{file.name} [{key}]", values) for key, values in found.items()}


def read_file(path: str | Path) -> dict[str, Any]:
    """The table of a TOML or YAML file.

    Raises:
        UsageError: no such file, not TOML or YAML, or not a table.
    """
    path = Path(path)
    try:
        with open_file(path) as file:
            content = file.read(MAX_SIZE + 1)
        if len(content) > MAX_SIZE:
            raise UsageError(f"{path} has more than {MAX_SIZE:,} bytes: it holds more than options")
        text = content.decode()
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix not in EXAMPLES:
            raise UsageError(f"{path}: the name of a configuration file must end in .toml, .yaml or .yml")
        import yaml  # 0.1 s, and only for a YAML file

        table = yaml.safe_load(text) or {}
    except (UsageError, ImportError, MemoryError):
        raise
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except Exception as error:  # TOMLDecodeError, UnicodeDecodeError, YAMLError
        raise UsageError(
            f"{path} cannot be read: {what_is_wrong(error)}; a line is as `{EXAMPLES[path.suffix]}`"
        ) from None
    if not isinstance(table, dict):
        raise UsageError(f"{path} must be a table of options, such as `lr: 0.001`")
    return table


def what_is_wrong(error: Exception) -> str:
    """What a parser says of a file, in one line: where, and what."""
    mark = getattr(error, "problem_mark", None)  # of YAML, whose whole message quotes lines of the file
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(str(getattr(error, 'problem', error)).split())}"
