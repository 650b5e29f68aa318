"""Files are whole or not at all, and what the disk refuses is one line, whatever was raised over it."""

import errno
import os
from zipfile import ZipFile

import numpy as np
import pytest
from full_disk import CODES, FullDisk, largest_file

from rlgen.errors import DiskError, UsageError
from rlgen.files import Lines, WholeWrites, copy_file, disk_error, made, replaced, write_whole, writing


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_file_is_replaced_or_stays_as_it_was_whichever_call_is_refused(tmp_path, code):
    path = tmp_path / "r.json"
    write_whole(path, "old")
    with FullDisk(tmp_path) as disk:
        write_whole(path, "old")
    assert [call.split()[0] for call in disk.calls] == ["open", "fsync", "replace", "fsync"]
    for first in range(3):  # the last is of the directory, when the file has its name already
        with FullDisk(tmp_path, first, code), pytest.raises(DiskError) as caught:
            write_whole(path, "new")
        assert str(caught.value) == f"cannot write {path}: {os.strerror(code)}; free space or fix permissions"
        assert path.read_text() == "old" and os.listdir(tmp_path) == ["r.json"]


def test_a_file_that_grows_too_large_is_not_there_in_part(tmp_path):
    with largest_file(100), pytest.raises(DiskError, match="File too large"):
        write_whole(tmp_path / "new", b"x" * 101)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_the_file_of_before(tmp_path):
    write_whole(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), replaced(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"
    (tmp_path / "null").symlink_to(os.devnull)
    write_whole(tmp_path / "null", "new")
    assert (tmp_path / "null").is_char_device() and sorted(os.listdir(tmp_path)) == ["file", "link", "null"]
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(DiskError, match=r"cannot write .*/full: No space left on device"):
        write_whole(tmp_path / "full", "new")


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    path = tmp_path / ("x" * 250 + ".json")
    write_whole(path, "new")
    assert path.read_text() == "new"


def test_what_is_raised_over_a_refusal_is_still_the_disks(tmp_path):
    with pytest.raises(DiskError, match="No space left"), writing("x"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise ValueError("cannot close it either")
    noise = np.random.default_rng(0).integers(0, 255, 10**5)
    a, b = tmp_path / "a.npz", tmp_path / "b.zip"
    with pytest.raises(DiskError, match=r"a\.npz"), largest_file(1000), replaced(a) as new, open(new, "wb") as file:
        np.savez(file, images=noise)
    with (
        pytest.raises(DiskError, match=r"b\.zip"),
        largest_file(1000),
        replaced(b) as new,
        ZipFile(new, "w") as archive,
    ):
        archive.writestr("x", noise.tobytes())
    assert os.listdir(tmp_path) == []


def test_what_has_nothing_to_do_with_the_disk_is_not_called_so():
    for error in (ValueError("no"), UsageError("no"), MemoryError()):
        with pytest.raises(type(error)), writing("x"):
            raise error
    try:
        raise OSError(errno.ENOENT, "No such file")
    except OSError as before:
        with pytest.raises(ValueError), writing("x"):
            raise ValueError("while another error was being handled") from None
        assert disk_error(before, before) is None


def test_a_folder_is_made_once_and_not_those_above_it(tmp_path):
    assert made(tmp_path / "samples") == made(tmp_path / "samples") and (tmp_path / "samples").is_dir()
    with pytest.raises(DiskError, match="No such file"):
        made(tmp_path / "gone" / "samples")


def test_a_file_without_a_buffer_remembers_what_was_refused(tmp_path):
    with WholeWrites(tmp_path / "a", "wb") as file:
        assert file.write(b"abc") == 3 and file.refused is None
        with largest_file(5), pytest.raises(OSError, match="File too large") as caught:
            file.write(b"defg")
        with largest_file(0), pytest.raises(OSError):
            file.write(b"h")
        assert file.refused is caught.value
    assert (tmp_path / "a").read_bytes() == b"abcde"


def test_lines_are_whole_and_closing_after_a_refusal_says_nothing_more(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = Lines(path)
    lines.sync()
    assert not path.exists()
    lines.add("one")
    assert path.read_text() == "one\n"
    with largest_file(8), pytest.raises(DiskError, match=r"cannot write .*metrics\.jsonl: File too large"):
        lines.add("two and more")
    lines.close()
    lines.close()
    assert path.read_text() == "one\n", "no part of the second"
    lines.add("three")
    with FullDisk(tmp_path, 0, errno.EIO), pytest.raises(DiskError, match="Input/output error"):
        lines.sync()
    assert path.read_text() == "one\nthree\n"


def test_a_copy_of_what_never_ends_is_refused(tmp_path):
    (tmp_path / "endless").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a file"):
        copy_file(tmp_path / "endless", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    (tmp_path / "file").write_bytes(b"all of it")
    copy_file(tmp_path / "file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"all of it"


@pytest.mark.parametrize("anew", [False, True])
def test_lines_of_a_file_that_was_removed_are_not_lost_in_silence(tmp_path, anew):
    lines = Lines(tmp_path / "rows")
    lines.add("first")
    (tmp_path / "rows").unlink()
    if anew:
        (tmp_path / "rows").write_text("another's")
    with pytest.raises(DiskError, match="it was removed while it was written"):
        lines.add("second")
    lines.close()
