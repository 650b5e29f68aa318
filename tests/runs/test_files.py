import os
import tracemalloc

import pytest

from rlgen.errors import DamagedError, DiskError, UsageError
from rlgen.runs.files import (
    FILES,
    FOLDERS,
    MAX_JSON,
    check_own,
    digest,
    read_json,
    remove_stale,
    replaced,
    write_json,
)


def test_what_is_written_is_read_and_where_there_is_no_file_is_nothing(tmp_path):
    path = tmp_path / "config.json"
    assert read_json(path) is None
    write_json(path, {"steps": 10, "lr": 1e-3, "name": None})
    assert read_json(path) == {"steps": 10, "lr": 1e-3, "name": None}
    assert path.read_bytes().endswith(b"}\n") and os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "line 1 column 2"),
        (b"[1, 2]", "no JSON object"),
        (b'"text"', "no JSON object"),
        (b'{"a": "\xff"}', "byte 7 is no UTF-8"),
        (b"\x00" * 40, "Expecting value"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": -Infinity}', "-Infinity is no JSON"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": %d}' % 2**64, "too large"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "digits"),
        (b'{"a": 1, "b": {"a": 1, "a": 2}}', "'a' stands there twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}", "nested too deeply"),
        (b'{"a": ' + b"[" * 10**6, "nested too deeply"),
        (b" " * 2**24 + b"{}", "more than 16,777,216 bytes"),
    ],
    ids=range(17),
)
def test_what_is_no_json_of_ours_is_damage_with_its_reason(tmp_path, content, reason):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=reason) as caught:
        read_json(path)
    assert str(path) in str(caught.value) and caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_a_pipe_a_device_and_a_folder_are_damage_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "endless", tmp_path):
        with pytest.raises(DamagedError, match="not a file"):
            read_json(path)


def test_a_file_of_any_size_is_read_up_to_a_limit(tmp_path):
    with open(tmp_path / "summary.json", "wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    with pytest.raises(DamagedError, match="bytes"):
        read_json(tmp_path / "summary.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * MAX_JSON


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_run_does_not_write_through_a_link(tmp_path, name):
    run, outside = tmp_path / "run", tmp_path / "outside"
    for folder in (run, *([] if name == "checkpoints" else [run / "checkpoints"])):
        folder.mkdir()
    check_own(run)
    outside.mkdir() if name in FOLDERS else outside.write_text("precious")
    (run / name).symlink_to(outside)
    with pytest.raises(UsageError, match=f"{name} is a link"):
        check_own(run)
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(UsageError, match=f"{name} is no fi|{name} is no fo"):
        check_own(run)


def test_what_is_stale_is_removed_and_what_a_link_leads_to_stays(tmp_path):
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    run.mkdir()
    (outside / "precious").write_text("here")
    (run / ".tmp-link").symlink_to(outside)
    (run / ".tmp-folder").mkdir()
    (run / ".tmp-folder" / "link").symlink_to(outside)
    remove_stale(run)
    assert os.listdir(run) == [] and (outside / "precious").read_text() == "here"


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
