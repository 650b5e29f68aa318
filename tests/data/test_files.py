"""Files and archives that grow: no more memory than the limit, whatever their headers say."""

import gzip
import io
import tarfile
import tracemalloc
import urllib.request
from typing import ClassVar

import pytest
from image_files import TRAIN, cifar_archive, cifar_files, error, idx_files, write

from rlgen.data import files
from rlgen.data.load import load

LARGE = 50_000_000
FEW = idx_files()[TRAIN]


def bomb(start=b"", size=LARGE):
    """Some bytes, and then many zeros: 50 kB compressed."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(size // 10**6):
            file.write(bytes(10**6))
    return stream.getvalue()


def traced(call):
    """What the call returns, and the most bytes that it had."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_small_gz_of_many_images_is_refused_by_its_header(tmp_path):
    sizes = b"".join(size.to_bytes(4, "big") for size in (50, 1000, 1000))
    write(tmp_path, {TRAIN + ".gz": bomb(b"\0\0\x08\x03" + sizes)})
    message, peak = traced(lambda: error(tmp_path, max_memory="10MB"))
    assert f"{TRAIN}.gz needs 47.7 MiB of memory, more than is left of --max-memory 10MB" in message
    assert peak < 1e6


@pytest.mark.parametrize("start", [FEW, FEW[:4] + b"\xff" * 12, FEW[:10], b"\0\0\x08\xff", b"\0\0\x08", b""])
def test_a_gz_whose_header_lies_costs_no_more_than_the_limit(tmp_path, start):
    write(tmp_path, {TRAIN: bomb(start)})
    message, peak = traced(lambda: error(tmp_path, max_memory="10MB"))
    assert str(tmp_path / TRAIN) in message and peak < 16e6


def test_a_batch_has_no_header_and_a_bound_of_its_own(tmp_path, monkeypatch):
    write(tmp_path, {**cifar_files(), "test_batch": bomb()})
    message, peak = traced(lambda: error("cifar10", tmp_path, max_memory="10MB"))
    assert "test_batch needs" in message and peak < 16e6
    monkeypatch.setattr(files, "NO_HEADER", 2_000_000)
    assert "test_batch cannot be read (more than 2,000,000 bytes)" in error("cifar10", tmp_path)


def archive(*members):
    """A tar archive, compressed: names, sizes and fields of a header."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as zipped:
        for name, size, fields in members:
            member = tarfile.TarInfo(name)
            member.size = size
            for field, value in fields.items():
                setattr(member, field, value)
            zipped.write(member.tobuf(tarfile.GNU_FORMAT))
            zipped.write(bytes(-(-size // 512) * 512))
        zipped.write(bytes(1024))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("test_batch", LARGE, {})], "test_batch needs 47.7 MiB of memory"),
        ([("name", LARGE, {"type": tarfile.GNUTYPE_LONGNAME})], "a header that is too large"),
        ([("pax", LARGE, {"type": tarfile.XHDTYPE})], "a header that is too large"),
        ([(f"{i}", 0, {}) for i in range(1001)], "more than 1,000 members"),
    ],
)
def test_an_archive_that_grows_costs_no_memory(tmp_path, monkeypatch, members, words):
    monkeypatch.setattr(files, "NO_HEADER", 20_000_000)
    write(tmp_path, {"cifar-10-python.tar.gz": archive(*members)})
    message, peak = traced(lambda: error("cifar10", tmp_path, max_memory="10MB"))
    assert words in message and "cifar-10-python.tar.gz" in message and peak < 5e6


def test_an_archive_that_is_not_compressed_is_read_too(tmp_path):
    write(tmp_path, {"cifar-10-python.tar.gz": gzip.decompress(cifar_archive(cifar_files()))})
    assert load("cifar10", str(tmp_path)).train.shape == (20, 3, 32, 32)


def test_idx_files_take_the_memory_of_their_images(tmp_path):
    images = idx_files()[TRAIN][:4] + b"".join(size.to_bytes(4, "big") for size in (200, 300, 200))
    write(tmp_path, {TRAIN + ".gz": gzip.compress(images + bytes(200 * 300 * 200), 1)})
    data, peak = traced(lambda: load(str(tmp_path)))
    assert peak < 1.25 * (data.train.nbytes + data.test.nbytes) + 4e6


def test_gz_is_known_by_content_and_dotted_names_are_found(tmp_path):
    files = idx_files()
    write(tmp_path, {f"{file.replace('-idx', '.idx')}.gz": content for file, content in files.items()})
    assert len(load("mnist", str(tmp_path)).train) == 12


def test_a_broken_local_archive_is_one_line(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(cifar_archive(cifar_files())[:3000])
    assert f"{path} is not a readable archive" in error("cifar10", tmp_path)


def test_what_is_downloaded_has_to_fit_too(tmp_path, monkeypatch):
    class Response(io.BytesIO):
        headers: ClassVar = {"Content-Length": "20000000"}

    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: Response(b"x" * 100))
    assert "needs 19.1 MiB of memory" in error("mnist", max_memory="10MB")
    Response.headers = {}
    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: Response(bomb()[:3] + bytes(LARGE)))
    assert "of memory, more than is left of --max-memory 10MB" in error("mnist", max_memory="10MB")
    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: Response(bomb()))
    assert "needs 10.0 MiB of memory" in error("mnist", max_memory="10MB")
