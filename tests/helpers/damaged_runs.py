"""Sets of runs of which one is damaged: every kind of damage, to every file of a run.

    python tests/helpers/damaged_runs.py DIR    makes them all below DIR, to be tried by hand

A set has two healthy runs, `good-1` and `good-2`, the damaged one, and a directory `outside`, which nothing may change.
Everything is drawn from a seed, so that a set of a name is always the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures/runs"
SEED = 0
JSON_FILES = ("config.json", "summary.json", "checkpoints/best.json", "manifest.json")
HEALTHY = {"good-1": "double-dqn", "good-2": "no-graph"}
EVIL = "a\x1b[2J\x1b]0;title\x07\r\nb"

MISSING = object()  # the value of an entry that is removed
CHECKPOINT = ("manifest.json", "state.pt")
BINARY = ("empty", "zeros", "html", "pickle", "cut-0.5", "cut-0.99", "trailing")

CONTENTS: dict[str, bytes] = {  # of a file, whatever it should hold
    "empty": b"",
    "blank": b" \n",
    "zeros": bytes(300),
    "not-utf8": b'{"config": "\xff\xfe"}',
    "utf16": json.dumps({"config": {}}).encode("utf-16"),
    "bom": b"\xef\xbb\xbf{}",
    "nothing": b"{}",
    "array": b"[1, 2, 3]",
    "text": b'"config"',
    "number": b"3",
    "null": b"null",
    "deep": b'{"config": ' + b"[" * 100_000,
    "deep-objects": b'{"config":' * 900 + b"1" + b"}" * 900,
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "endless-number": b'{"config": ' + b"9" * 10_000 + b"}",
}
STARTS = {  # how a JSON file goes on after its first bracket
    "twice": b'{"step": 1, "step": 2, ',
    "nan": b'{"value": NaN, ',
    "infinite": b'{"extra": 1e999, ',
    "surrogate": b'{"extra": "\\ud800", ',
    "newer": b'{"extra": {"a": [1, 2]}, ',
}
ODD: tuple[Any, ...] = (  # values that an entry may not have
    *(None, [], {}, [[]], "", "x", -5, 0, 1.5, True, 2**53 + 1, 10**18, 10**30, 1e300, EVIL, "../../outside"),
    *([1, "a"], {"a": {"b": [1]}}, "NaN", "\u202e", "a" * 300, [10**9], "/dev/zero", "null\x00byte"),
)
KEYS = (
    *("config", "spec", "versions", "hardware", "parent", "created", "command", "format", "wandb_id", "git_commit"),
    *("config/algo", "config/seed", "config/steps", "config/env_id", "config/log_every", "config/eval_every"),
    *("config/checkpoint_every", "config/num_envs", "config/hidden", "config/lr", "config/device", "config/threads"),
    *("config/precision", "config/name", "config/runs_dir", "config/wandb", "config/vectorization", "config/video"),
    *("config/eval_episodes", "config/batch_size", "config/buffer_size", "config/learning_starts", "config/graph"),
    *("spec/obs_shape", "spec/num_actions", "spec/obs_dtype", "spec/action_low", "spec/env_id", "spec/frame_stack"),
    *("spec/num_choices", "spec/action_rescaled", "spec/action_dtype", "config/rescale_actions"),
    *("hardware/gpus", "hardware/cpu_cores", "versions/torch", "rlgen_version", "config/new_option"),
)
EDITS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("config.json", "config/algo", ("ppo", "vae", "reinforce", "somebody_elses", "../agents/dqn", "agents.dqn")),
    ("config.json", "spec/shape", ([1, 8], [1, 8, -8], [])),
    ("config.json", "spec/num_classes", ("ten", 1.5)),
    ("config.json", "config/data", ("/dev/zero", EVIL, "", None)),
    ("config.json", "config/latent", (0, "two")),
    ("checkpoints/best.json", "metric", (EVIL, 3, "eval/other")),
    ("checkpoints/best.json", "value", ("best", None, True)),
    ("checkpoints/best.json", "step", ("../../..", 10**8, -1, 1.5)),
    ("summary.json", "status", (3, EVIL, "x")),
    ("summary.json", "best", (5, {"value": []}, {})),
    ("summary.json", "step", (-1, "far")),
    ("manifest.json", "format", ("2", 99, MISSING)),
    ("manifest.json", "step", (7, "7")),
    ("manifest.json", "files", ([], {"../../x": {}}, {"state.pt": {"size": -1, "sha256": 0}}, MISSING)),
)
OF_IMAGES = ("spec/shape", "spec/num_classes", "config/data", "config/latent")  # of a run of `vae`
LINES: dict[str, bytes] = {  # in the middle of metrics.jsonl
    "letter": b"x",
    "empty": b"",
    "zeros": bytes(200),
    "not-utf8": b'{"step": 300, "\xff": 1}',
    "array": b"[300]",
    "no-step": b'{"time": 3}',
    "step-text": b'{"step": "300"}',
    "step-negative": b'{"step": -1}',
    "step-huge": b'{"step": 1' + b"0" * 300 + b"}",
    "step-backwards": b'{"step": 1, "time": 0.1, "eval/episodic_return": 3}',
    "step-far": b'{"step": 900000, "time": 0.1, "eval/episodic_return": 3}',
    "step-infinite": b'{"step": 1e999, "eval/episodic_return": 3}',
    "nested": b'{"step": 300, "eval/episodic_return": {"a": [1]}}',
    "deep": b'{"step": 300, "eval/x": ' + b"[" * 50_000 + b"}",
    "list": b'{"step": 300, "eval/episodic_return": [1]}',
    "escape": b'{"step": 300, "eval/\\u001b[2J\\ud800": 1}',
    "time-text": b'{"step": 300, "time": "soon", "eval/episodic_return": 3}',
    "time-infinite": b'{"step": 300, "time": 1e999, "eval/episodic_return": 1e999}',
    "value-huge": b'{"step": 300, "time": 1, "eval/episodic_return": 1e308, "charts/episodic_return": -1e308}',
    "long": b'{"step": 300, "eval/x": "' + b"y" * 5_000_000 + b'"}',
}


@dataclass(frozen=True)
class Damage:
    """One way to damage a run."""

    name: str  # `file:kind`
    do: Callable[[Path, Path], Any]  # to the run's directory; the other one is `outside`
    base: str = "dqn"  # the run of `fixtures/runs` that is damaged
    run: str = "bad"  # what it is called in the end


def all_damages() -> list[Damage]:
    """Every kind, in an order that does not change."""
    return [*_files(), *_entries(), *_rows(), *_states(), *_places()]


def make_set(damage: Damage, folder: Path) -> None:
    """Make `folder/runs` and `folder/outside`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, fixture in HEALTHY.items():
        shutil.copytree(FIXTURES / fixture, folder / "runs" / name)
    run, outside = folder / "runs/bad", folder / "outside"
    shutil.copytree(FIXTURES / damage.base, run)
    shutil.copytree(FIXTURES / damage.base, outside)
    (outside / "precious").write_text("here\n" * 100)
    damage.do(run, outside)
    if damage.run != run.name:
        run.rename(run.parent / damage.run)


def _everywhere(run: Path, name: str) -> list[Path]:
    """A file of every checkpoint, or the one of the run."""
    return sorted((run / "checkpoints").glob(f"step_*/{name}")) if name in CHECKPOINT else [run / name]


def _replace(path: Path, how: str, outside: Path) -> None:
    """Put something else in the place of a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if how == "pipe":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "file":
        path.write_text("text")
    elif how in ("link", "endless", "loop", "dangling"):
        target = {"endless": "/dev/zero", "loop": path.name, "dangling": "nowhere", "link": str(outside)}[how]
        path.symlink_to(target)


def _files() -> Iterator[Damage]:
    """Whole files that hold something else, or are none."""

    def bytes_of(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
        def act(run: Path, outside: Path) -> None:
            for path in _everywhere(run, name):
                path.write_bytes(change(path.read_bytes()))

        return act

    def place(name: str, how: str) -> Callable[[Path, Path], None]:
        def act(run: Path, outside: Path) -> None:
            for path in _everywhere(run, name):
                _replace(path, how, outside / "precious")

        return act

    changes: dict[str, Callable[[bytes], bytes]] = {
        kind: lambda old, content=content: content for kind, content in CONTENTS.items()
    }
    changes |= {f"cut-{share}": lambda old, share=share: old[: int(share * len(old))] for share in (0.1, 0.5, 0.99)}
    for kind, start in STARTS.items():
        changes[kind] = lambda old, start=start: old.replace(b"{", start, 1)
    changes["trailing"] = lambda old: old + b"}"
    odd = ("pipe", "folder", "missing", "endless", "loop", "dangling", "link")
    for name in JSON_FILES:
        yield from (Damage(f"{name}:{kind}", bytes_of(name, change)) for kind, change in changes.items())
        yield from (Damage(f"{name}:{how}", place(name, how)) for how in odd)
    for name in ("metrics.jsonl", "state.pt"):
        yield from (Damage(f"{name}:{kind}", bytes_of(name, changes[kind])) for kind in BINARY)
        yield from (Damage(f"{name}:{how}", place(name, how)) for how in odd)


def _entries() -> Iterator[Damage]:
    """Entries that somebody edited or removed: of config.json three odd values each."""
    draw = random.Random(SEED)

    def edit(name: str, key: str, value: Any) -> Callable[[Path, Path], None]:
        def act(run: Path, outside: Path) -> None:
            for path in _everywhere(run, name):
                whole = entry = json.loads(path.read_text())
                *above, last = key.split("/")
                for part in above:
                    entry = entry[part]
                if value is MISSING:
                    entry.pop(last, None)
                else:
                    entry[last] = value
                path.write_text(json.dumps(whole))

        return act

    for key in KEYS:
        for number in sorted(draw.sample(range(len(ODD)), 3)):
            yield Damage(f"config.json:{key}-{number}", edit("config.json", key, ODD[number]))
        yield Damage(f"config.json:{key}-missing", edit("config.json", key, MISSING))
    for name, key, values in EDITS:
        for number, value in enumerate(values):
            base = "vae" if key in OF_IMAGES else "dqn"
            yield Damage(f"{name}:{key}-edited-{number}", edit(name, key, value), base)


def _rows() -> Iterator[Damage]:
    """Lines of metrics.jsonl, near its beginning, first, and last."""

    def insert(line: bytes, place: int) -> Callable[[Path, Path], None]:
        def act(run: Path, outside: Path) -> None:
            path = run / "metrics.jsonl"
            lines = path.read_bytes().splitlines()
            path.write_bytes(b"\n".join([*lines[:place], line, *lines[place:]]) + b"\n")

        return act

    def torn(line: bytes) -> Callable[[Path, Path], None]:
        def act(run: Path, outside: Path) -> None:
            path = run / "metrics.jsonl"
            path.write_bytes(path.read_bytes() + line)

        return act

    for number, (kind, line) in enumerate(LINES.items()):
        yield Damage(f"metrics.jsonl:line-{kind}", insert(line, (3, 0, 10**6)[number % 3]))
        if number % 4 == 0:
            yield Damage(f"metrics.jsonl:torn-{kind}", torn(line))


def _states() -> Iterator[Damage]:
    """A byte of state.pt that changed, with a manifest that agrees with it and one that does not."""

    def flip(place: float, sign: bool) -> Callable[[Path, Path], None]:
        def act(run: Path, outside: Path) -> None:
            for path in _everywhere(run, "state.pt"):
                content = bytearray(path.read_bytes())
                content[int(place * (len(content) - 1))] ^= 0x55
                path.write_bytes(content)
                if sign:
                    manifest = json.loads((path.parent / "manifest.json").read_text())
                    manifest["files"]["state.pt"]["sha256"] = hashlib.sha256(content).hexdigest()
                    (path.parent / "manifest.json").write_text(json.dumps(manifest))

        return act

    for place in (0.0, 0.02, 0.3, 0.98, 1.0):
        yield Damage(f"state.pt:flip-{place}", flip(place, False))
        yield Damage(f"state.pt:flip-{place}-signed", flip(place, True))


def _places() -> Iterator[Damage]:
    """Links, pipes and files in the place of others, and names that do not belong there."""

    def place(name: str, how: str) -> Callable[[Path, Path], None]:
        def act(run: Path, outside: Path) -> None:
            _replace(run / name, how, outside / "precious" if name in (".lock", "weights.safetensors") else outside)

        return act

    def link_steps(run: Path, outside: Path) -> None:
        for path in (run / "checkpoints").glob("step_*"):
            _replace(path, "link", outside / "checkpoints" / path.name)

    def odd_names(run: Path, outside: Path) -> None:
        for name in ("step_7", "step_\u00b2", "step_" + "9" * 30, "step_-00000001", "step_x", ".tmp-half"):
            (run / "checkpoints" / name).mkdir()
        (run / "checkpoints" / ".tmp-link").symlink_to(outside)
        (run / ".tmp-link").symlink_to(outside)
        (run / "metrics.damaged-1.jsonl").symlink_to(outside / "precious")
        path = run / "metrics.jsonl"
        path.write_bytes(path.read_bytes() + b"x\n")

    for name in ("checkpoints", "samples", "videos", "wandb", ".lock", "weights.safetensors"):
        for how in ("link", "pipe", "loop", "file", "folder"):
            yield Damage(f"{name}:{how}", place(name, how))
    yield Damage("checkpoints:step-links", link_steps)
    yield Damage("checkpoints:odd-names", odd_names)
    for number, name in enumerate((EVIL, "[red]bad[bold]", "\udcff\udcfe", "-rf", "a b;c", "\u202ebad", "x" * 250)):
        yield Damage(f"name:{number}", lambda run, outside: None, run=name)
    yield Damage("run:link", lambda run, outside: _replace(run, "link", outside))


if __name__ == "__main__":
    for number, damage in enumerate(all_damages()):
        make_set(damage, Path(sys.argv[1]) / f"{number:03}")
        print(number, damage.name)
