"""Readers of what people and programs leave behind, with inputs that nobody thought of (property-based).

A few seconds a reader in every test run; for longer: `pytest tests/test_fuzz.py --hypothesis-profile long`. What was
found once stays as an `@example`.
"""

import contextlib
import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlgen.commands import main
from rlgen.data.load import load
from rlgen.errors import RlgenError
from rlgen.options import config
from rlgen.options.files import read_file
from rlgen.options.stored import stored
from rlgen.runs import rows
from rlgen.runs.records import Best, Manifest, Summary, read, read_config

SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
GOOD = {
    "format": 3,
    "config": {"algo": "dqn", "exp_name": "dqn", "env_id": "CartPole-v1", "seed": 1, "steps": 100, "lr": 0.1},
    "spec": {"obs_shape": [4], "num_actions": 2},
    "step": 3,
    "files": {"state.pt": {"sha256": "0", "size": 3}},
    "metric": "eval/episodic_return",
    "value": 3.0,
    "status": "finished",
}


@st.composite
def edited(draw):
    """The good document with some of its entries replaced."""
    document = json.loads(json.dumps(GOOD))
    for _ in range(draw(st.integers(0, 3))):
        place = document
        if draw(st.booleans()):
            place = document[draw(st.sampled_from(["config", "spec", "files"]))]
        if isinstance(place, dict):
            place[draw(st.sampled_from(sorted(place)) | st.text(max_size=8)) if place else "a"] = draw(VALUES)
    return document


def damaged(content):
    """Bytes of a file with some changed, cut or put in."""
    places = st.lists(st.tuples(st.integers(0, len(content)), st.binary(max_size=6), st.integers(0, 40)), max_size=4)

    def change(edits):
        result = content
        for place, put, cut in edits:
            result = result[:place] + put + result[place + cut :]
        return result

    return places.map(change) | st.binary(max_size=60)


@SLOW
@given(edited() | VALUES)
@example({"format": 3, "config": {"algo": "dqn", "seed": 1, "steps": 1, "env_id": "\x1b[2J"}})
def test_records_of_a_run_are_read_or_refused(value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for name in ("config.json", "summary.json", "best.json", "manifest.json"):
            (path / name).write_text(json.dumps(value), encoding="utf-8")
        with contextlib.suppress(RlgenError):
            info, _ = read_config(path)
            assert isinstance(info["config"]["steps"], int) and info["config"]["steps"] > 0
        for name, kind in (("summary.json", Summary), ("best.json", Best), ("manifest.json", Manifest)):
            with contextlib.suppress(RlgenError):
                read(path / name, kind)


@SLOW
@given(st.lists(st.sampled_from([b'{"step": 1}', b'{"step": 2, "a": "NaN"}']) | st.binary(max_size=30), max_size=8))
@example([b'{"step": 1}\r{"step": 2}\r'])
def test_rows_are_read_or_refused_and_a_cut_loses_no_good_one_in_silence(lines):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.write_bytes(b"\n".join(lines))
        before = path.read_bytes()
        for reader in (lambda: list(rows.read_metrics(path)), lambda: rows.last_row(path)):
            with contextlib.suppress(RlgenError):
                reader()
        aside = rows.truncate(path, 10)
        kept = path.read_bytes()
        assert all(row["step"] <= 10 for row in rows.read_metrics(path))
        if aside is None:  # a torn last line at most is gone
            assert before.startswith(kept.rstrip(b"\n")) and b"\n" not in before[len(kept) :].rstrip(b"\n")
        else:
            assert aside.read_bytes() == before
        assert rows.truncate(path, 10) is None and path.read_bytes() == kept


@SLOW
@given(st.text() | st.text(alphabet="lr: 0.1\n[]{}&*!'\"=-<,abc#"), st.sampled_from(["toml", "yaml", "json"]))
@example("a: &a [1]\nb: [*a, *a]", "yaml")
def test_files_of_options_are_read_or_refused(text, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"options.{ending}"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(RlgenError):
            assert isinstance(read_file(path), dict)


@SLOW
@given(st.sampled_from(["dqn", "ppo", "vae", "gan"]), st.data())
def test_options_are_taken_or_refused(algo, data):
    names = sorted(config.options(config.find(algo)))
    given_ = data.draw(st.dictionaries(st.sampled_from(names) | st.text(max_size=5), LEAVES, max_size=3))
    with contextlib.suppress(RlgenError):
        resolved = config.resolve(algo, given_)
        assert resolved.values.keys() == set(names)
        again, unknown = stored(json.loads(json.dumps(resolved.config)))  # what a run keeps is as good
        assert not unknown and again["steps"] == resolved.values["steps"]


WORDS = [
    "--lr",
    "--steps",
    "--seed",
    "--hidden",
    "--env",
    "--json",
    "--dry-run",
    "=",
    "0.1",
    "-1",
    "1e9",
    "64,64",
    "dqn",
]
COMMANDS = [
    "list",
    "show",
    "diff",
    "compare",
    "resume",
    "fork",
    "eval",
    "sample",
    "verify",
    "delete",
    "preview",
    "help",
]


@SLOW
@given(
    st.sampled_from(COMMANDS), st.lists(st.sampled_from([*WORDS, "runs", "-h", "--all", "x"]) | st.text(), max_size=4)
)
def test_a_command_ends_with_one_line_whatever_its_words_are(tmp_path_factory, command, words):
    folder = tmp_path_factory.mktemp("empty")
    with contextlib.chdir(folder), contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = main([command, *words])
        except SystemExit as stop:
            code = stop.code or 0
    assert code in (0, 2, 3), err.getvalue()
    assert "Traceback" not in err.getvalue() and err.getvalue().count("error: ") <= 1


def images():
    file = io.BytesIO()
    np.savez(file, images=np.arange(48, dtype=np.uint8).reshape(3, 4, 4), labels=np.arange(3))
    packed = io.BytesIO()
    np.savez_compressed(packed, images=np.zeros((3, 4, 4), np.uint8))
    plain = io.BytesIO()
    np.save(plain, np.zeros((3, 4, 4), np.float32))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("a/1.png", b"\x89PNG\r\n\x1a\n" + bytes(30))
    return {"a.npz": file, "b.npz": packed, "c.npy": plain, "d.zip": archive}


@pytest.mark.parametrize("name", images())
def test_image_files_are_read_or_refused(name):
    @SLOW
    @given(damaged(images()[name].getvalue()))
    def check(content):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            with contextlib.suppress(RlgenError):
                data = load(str(path), max_memory="50MB")
                assert data.train.dtype == np.uint8 and data.train.ndim == 4

    check()
