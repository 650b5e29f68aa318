import os

import pytest

from rlgen.errors import DiskError
from rlgen.runs.files import digest, read_json, remove_stale, replaced, write_json


def test_what_is_written_is_read_and_what_is_no_object_is_none(tmp_path):
    path = tmp_path / "config.json"
    assert read_json(path) is None
    write_json(path, {"steps": 10, "lr": 1e-3, "name": None})
    assert read_json(path) == {"steps": 10, "lr": 1e-3, "name": None}
    assert path.read_bytes().endswith(b"}\n") and os.listdir(tmp_path) == ["config.json"]
    for text in ("{", "[1, 2]", "\xff"):
        path.write_bytes(text.encode("latin-1"))
        assert read_json(path) is None


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path):
    path = tmp_path / "config.json"
    write_json(path, {"steps": 10})
    with pytest.raises(DiskError, match=r"cannot write .*config\.json: No space left on device; free space"):  # noqa: SIM117
        with replaced(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")
    assert read_json(path) == {"steps": 10} and os.listdir(tmp_path) == ["config.json"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"steps": float("nan")})
    assert read_json(path) == {"steps": 10}
    with pytest.raises(DiskError, match="No such file"):
        write_json(tmp_path / "missing" / "config.json", {})


def test_only_temporary_files_are_stale(tmp_path):
    (tmp_path / ".tmp-step_000000010-77" / "inner").mkdir(parents=True)
    (tmp_path / ".tmp-metrics.jsonl-77").write_text("half")
    (tmp_path / "metrics.jsonl").write_text("whole")
    remove_stale(tmp_path)
    remove_stale(tmp_path / "missing")
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_a_digest_is_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(tmp_path / "abc") == {"sha256": sha256, "size": 3}
