import gzip
import hashlib
import http.server
import io
import math
import os
import pickle
import shutil
import socket
import struct
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlgen.data import load as datasets
from rlgen.errors import DiskError, UsageError

TRAIN, TRAIN_LABEL, TEST, TEST_LABEL = datasets._IDX


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No cache, no RLGEN_DATA, no proxy, and nothing to download from."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RLGEN_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:  # a port that nobody listens on once this is closed
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("mnist", "fashion-mnist", "cifar10"):
        publish(monkeypatch, name, datasets.KNOWN[name].sha256, f"http://127.0.0.1:{port}/{{file}}.gz")


def publish(monkeypatch, name, sha256, *urls):
    entry = datasets.KNOWN[name]
    fields = (entry.about, entry.shape, sha256, urls, entry.archive)
    monkeypatch.setitem(datasets.KNOWN, name, datasets._Known(*fields))


def error(name, data_dir=None, kind=UsageError):
    with pytest.raises(kind) as caught:
        datasets.load(str(name), str(data_dir) if data_dir else None)
    message = str(caught.value)
    assert "\n" not in message
    return message


def idx(array, dtype=0x08):
    return bytes([0, 0, dtype, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_files(num_train=12, num_test=4, seed=0):
    random = np.random.RandomState(seed)
    files = {}
    for images, labels, num in ((TRAIN, TRAIN_LABEL, num_train), (TEST, TEST_LABEL, num_test)):
        files[images] = idx(random.randint(0, 256, (num, 5, 4), np.uint8))
        files[labels] = idx((np.arange(num) % 3).astype(np.uint8))
    return files


def write(folder, files, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / (file + ".gz" * compress)).write_bytes(gzip.compress(content) if compress else content)
    return folder


def digest(content):
    return hashlib.sha256(content).hexdigest()


def check(data):
    """What holds for every data set."""
    for image, label in ((data.train, data.train_label), (data.test, data.test_label)):
        assert image.dtype == np.uint8 and image.ndim == 4 and len(image) > 0
        assert image.flags.writeable and image.flags.c_contiguous
        assert label is None or (label.dtype == np.int64 and label.shape == image.shape[:1])
    assert data.train.shape[1:] == data.test.shape[1:]
    assert data.sha256 and all(len(value) == 64 for value in data.sha256.values())
    return data


# Names


def test_known_lists_every_name_without_reading_anything():
    assert [name for name, _, _ in datasets.known()] == ["digits", "mnist", "fashion-mnist", "cifar10"]
    assert all(about and shape for _, about, shape in datasets.known())


def test_digits_are_scaled_and_split_evenly():
    data = check(datasets.load("digits"))
    assert data.train.shape == (1438, 1, 8, 8) and data.test.shape == (359, 1, 8, 8) and data.num_classes == 10
    assert data.train.min() == 0 and data.train.max() == 255
    assert len(np.unique(data.train)) == 17  # sixteen steps up from 0
    share = np.bincount(data.test_label) / (np.bincount(data.test_label) + np.bincount(data.train_label))
    assert np.abs(share - 0.2).max() < 0.005
    again = datasets.load("digits")
    np.testing.assert_array_equal(data.test, again.test)
    # The split is the same on every machine and in every version: published numbers depend on it.
    assert digest(data.test.tobytes())[:16] == "2f5eb12f1dfec8a2"


def test_a_misspelt_name_gets_a_suggestion():
    assert "did you mean 'fashion-mnist'?" in error("fashon-mnist")
    assert "'a/b'" in error("a/b") and "did you mean" not in error("a/b")
    assert "neither" in error("x" * 5000)


def test_a_single_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    assert "give an .npz" in error(tmp_path / "x.bin")


# IDX and where it is looked for


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_mnist_is_read_from_its_folder_or_the_directory_itself(tmp_path, compress, named):
    files = idx_files()
    place = write(tmp_path / "data" / ("mnist" if named else ""), files, compress)
    data = check(datasets.load("mnist", str(tmp_path / "data")))
    assert data.name == "mnist" and data.train.shape == (12, 1, 5, 4) and data.test.shape == (4, 1, 5, 4)
    assert data.train[1, 0].tobytes() == files[TRAIN][16 + 20 : 16 + 40]
    assert data.train_label.tolist() == [0, 1, 2] * 4 and data.num_classes == 3
    assert data.source == f"{place} (not the published bytes)"
    assert data.sha256 == {file: digest(content) for file, content in files.items()}


def test_data_dir_goes_before_rlgen_data_and_that_before_the_cache(tmp_path, monkeypatch):
    for seed, folder in enumerate(("given", "env", "cache/rlgen")):
        write(tmp_path / folder / "mnist", idx_files(seed=seed))
    first = [idx_files(seed=seed)[TRAIN][16] for seed in range(3)]
    assert len(set(first)) == 3
    assert datasets.load("mnist").train[0, 0, 0, 0] == first[2]
    monkeypatch.setenv("RLGEN_DATA", str(tmp_path / "env"))
    assert datasets.load("mnist").train[0, 0, 0, 0] == first[1]
    assert datasets.load("mnist", str(tmp_path / "given")).train[0, 0, 0, 0] == first[0]


def test_the_folder_of_the_name_goes_before_the_directory_itself(tmp_path):
    write(tmp_path, idx_files(num_train=20))
    write(tmp_path / "fashion-mnist", idx_files(num_train=30))
    assert len(datasets.load("fashion-mnist", str(tmp_path)).train) == 30
    assert len(datasets.load("mnist", str(tmp_path)).train) == 20


def test_gz_is_known_by_content_and_dotted_names_are_found(tmp_path):
    files = idx_files()
    write(tmp_path, {f"{file.replace('-idx', '.idx')}.gz": content for file, content in files.items()})
    assert len(datasets.load("mnist", str(tmp_path)).train) == 12


def test_one_data_set_is_not_taken_for_another(tmp_path, monkeypatch):
    files = idx_files()
    publish(monkeypatch, "mnist", {file: digest(content) for file, content in files.items()})
    write(tmp_path, files)
    assert datasets.load("mnist", str(tmp_path)).source == str(tmp_path)
    message = error("fashion-mnist", tmp_path)
    assert "is of mnist, not fashion-mnist" in message and str(tmp_path) in message


def test_a_wrong_data_dir_is_an_error_not_a_download(tmp_path, monkeypatch):
    assert "--data-dir" in error("mnist", tmp_path / "nope")
    monkeypatch.setenv("RLGEN_DATA", str(tmp_path / "nope"))
    assert "$RLGEN_DATA" in error("mnist")


def test_missing_files_are_named(tmp_path):
    files = idx_files()
    del files[TEST_LABEL]
    write(tmp_path / "mnist", files)
    message = error("mnist", tmp_path)
    assert f"but not {TEST_LABEL}" in message and str(tmp_path / "mnist") in message


def test_a_folder_of_idx_files_needs_only_training_images(tmp_path):
    files = idx_files(num_train=30)
    folder = write(tmp_path / "letters", {TRAIN: files[TRAIN]})
    data = check(datasets.load(str(folder)))
    assert data.name == "letters" and data.train_label is None and data.num_classes is None
    assert (len(data.train), len(data.test)) == (27, 3)
    both = {image.tobytes() for image in (*data.train, *data.test)}
    assert len(both) == 30  # a partition
    np.testing.assert_array_equal(data.test, datasets.load(str(folder)).test)

    write(folder, files)
    data = check(datasets.load(str(folder)))
    assert (len(data.train), len(data.test), data.num_classes) == (30, 4, 3)


def test_idx_files_of_other_names_are_explained(tmp_path):
    write(tmp_path, {"emnist-letters-train-images-idx3-ubyte": idx_files()[TRAIN]})
    assert f"no {TRAIN}[.gz]: rename" in error(tmp_path)


GOOD = idx_files()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (TRAIN, b"", "not an IDX file (it starts with nothing)"),
        (TRAIN, b"<html>404", "not an IDX file (it starts with 3c68746d)"),
        (TRAIN, GOOD[TRAIN][:7], "has 7 bytes"),
        (TRAIN, GOOD[TRAIN][:-1], "as it says: fetch it again"),
        (TRAIN, GOOD[TRAIN] + b"x", "as it says: fetch it again"),
        (TRAIN, idx(np.zeros((12, 5, 4), ">i4"), 0x0C), "IDX type 0x0c"),
        (TRAIN, GOOD[TRAIN_LABEL], "has 1 dimensions where 3 are needed"),
        (TRAIN_LABEL, GOOD[TRAIN], "has 3 dimensions where 1 are needed"),
        (TRAIN, gzip.compress(GOOD[TRAIN])[:-20], "cannot be read"),
        (TRAIN, b"\x1f\x8b" + bytes(30), "cannot be read"),
        (TRAIN_LABEL, GOOD[TEST_LABEL], "12 training images but 4 labels"),
        (TEST, idx(np.zeros((4, 7, 7), np.uint8)), "training images are (1, 5, 4), test images (1, 7, 7)"),
        (TRAIN, idx(np.zeros((0, 5, 4), np.uint8)), "0 training images but 12 labels"),
    ],
)
def test_malformed_idx_names_the_file_and_the_fix(tmp_path, file, content, words):
    write(tmp_path, GOOD)
    (tmp_path / file).write_bytes(content)
    message = error("mnist", tmp_path)
    assert words in message and str(tmp_path) in message


# Downloading


class Server:
    def __init__(self):
        self.files, self.requests = {}, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                found = server.files.get(self.path)
                if found is None:
                    return self.send_error(404)
                body, length = found if isinstance(found, tuple) else (found, len(found))
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def mirror(server, monkeypatch):
    """A server that has an MNIST of twelve images."""
    files = idx_files()
    server.files = {f"/{file}.gz": gzip.compress(content) for file, content in files.items()}
    publish(monkeypatch, "mnist", {file: digest(content) for file, content in files.items()}, server.url + "/{file}.gz")
    return server


def cached(tmp_path, name="mnist"):
    folder = tmp_path / "cache" / "rlgen" / name
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_missing_data_set_is_downloaded_once(tmp_path, mirror, capsys):
    data = check(datasets.load("mnist"))
    assert len(data.train) == 12 and data.source == str(tmp_path / "cache" / "rlgen" / "mnist")
    assert cached(tmp_path) == sorted(datasets._IDX)  # nothing temporary stays
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count(f"downloading {mirror.url}") == 4
    datasets.load("mnist")
    datasets.load("mnist", str(tmp_path))  # a data directory without it falls back to the cache
    assert len(mirror.requests) == 4


def test_recompressed_mirrors_are_accepted(mirror):
    mirror.files = {path: gzip.compress(gzip.decompress(body), 1) for path, body in mirror.files.items()}
    assert len(datasets.load("mnist").train) == 12


def test_a_wrong_hash_is_refused_and_nothing_is_kept(tmp_path, mirror):
    wrong = idx_files(seed=1)[TRAIN]
    mirror.files[f"/{TRAIN}.gz"] = gzip.compress(wrong)
    message = error("mnist")
    assert f"sha256 {digest(wrong)[:12]}.. and not {digest(GOOD[TRAIN])[:12]}.." in message
    assert cached(tmp_path) == []


@pytest.mark.parametrize("fault", ["cut", "cut inside", "404", "html"])
def test_a_broken_download_is_refused_and_goes_on_where_it_stopped(tmp_path, mirror, fault):
    path, body = f"/{TEST}.gz", mirror.files[f"/{TEST}.gz"]
    mirror.files[path] = {"cut": (body[:50], len(body)), "cut inside": body[:50], "404": None, "html": b"<html>"}[fault]
    message = error("mnist")
    words = {"cut": f"cut off after 50 of {len(body)} bytes", "404": "HTTP 404"}.get(fault, f"{path}: ")
    assert words in message
    assert f"put {TEST}[.gz], {TEST_LABEL}[.gz] into {tmp_path / 'cache' / 'rlgen' / 'mnist'}" in message
    assert cached(tmp_path) == sorted([TRAIN, TRAIN_LABEL])

    mirror.files[path], mirror.requests[:] = body, []
    assert len(datasets.load("mnist").test) == 4
    assert mirror.requests == [path, f"/{TEST_LABEL}.gz"]


def test_the_next_mirror_is_tried(mirror, monkeypatch):
    entry = datasets.KNOWN["mnist"]
    publish(monkeypatch, "mnist", entry.sha256, mirror.url + "/gone/{file}.gz", *entry.urls)
    assert len(datasets.load("mnist").train) == 12


def test_without_network_the_error_says_which_file_to_put_where(tmp_path):
    message = error("fashion-mnist", tmp_path)
    assert all(f"{file}[.gz]" in message for file in datasets._IDX)
    assert str(tmp_path / "cache" / "rlgen" / "fashion-mnist") in message and "Connection refused" in message
    assert str(tmp_path / "fashion-mnist") in message and "--data-dir" in message
    assert "put cifar-10-python.tar.gz into" in error("cifar10")


def test_a_name_that_does_not_resolve_is_one_line(monkeypatch):
    publish(monkeypatch, "mnist", datasets.KNOWN["mnist"].sha256, "http://mnist.invalid/{file}.gz")
    message = error("mnist")
    assert "cannot be downloaded (http://mnist.invalid/" in message and "Errno" not in message


def test_a_silent_server_is_given_up(monkeypatch):
    monkeypatch.setattr(datasets, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{{file}}.gz"
        publish(monkeypatch, "mnist", datasets.KNOWN["mnist"].sha256, url)
        assert "timed out" in error("mnist")


def test_an_unwritable_cache_is_a_disk_error(tmp_path, mirror):
    (tmp_path / "cache").write_text("a file where the cache should be")
    assert "XDG_CACHE_HOME" in error("mnist", kind=DiskError)


# CIFAR-10


def python2_pickle(image, labels):
    """A batch as the published files have it: written by Python 2, protocol 2, so every string is a byte string."""

    def string(value):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<I", len(value)) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n(" + string(b"u1") + number(0) + number(1) + b"tR("
    dtype += number(3) + string(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + number(0) + b"\x85" + string(b"b") + b"tR("
    array += number(1) + b"(" + b"".join(map(number, image.shape)) + b"t" + dtype + b"\x89" + string(image.tobytes())
    array += b"tb"
    label = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(b"labels") + label + b"u."


def cifar_files():
    random = np.random.RandomState(0)
    files = {}
    for i, file in enumerate(datasets.KNOWN["cifar10"].sha256):
        files[file] = python2_pickle(random.randint(0, 256, (4, 3072), np.uint8), [i, 9, 0, 1])
    return files


def cifar_archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("form", ["archive", "extracted", "files"])
def test_cifar10_is_read_from_the_archive_or_extracted(tmp_path, form):
    files = cifar_files()
    if form == "archive":
        write(tmp_path / "cifar10", {"cifar-10-python.tar.gz": cifar_archive({**files, "readme.html": b"hello"})})
    else:
        write(tmp_path / "cifar10" / ("cifar-10-batches-py" if form == "extracted" else ""), files)
    data = check(datasets.load("cifar10", str(tmp_path)))
    assert data.train.shape == (20, 3, 32, 32) and data.test.shape == (4, 3, 32, 32) and data.num_classes == 10
    assert data.train_label.tolist() == [label for i in range(5) for label in (i, 9, 0, 1)]
    expected = np.random.RandomState(0).randint(0, 256, (4, 3072), np.uint8)
    np.testing.assert_array_equal(data.train[:4].reshape(4, -1), expected)
    assert data.sha256 == {file: digest(content) for file, content in files.items()}


def test_cifar10_is_downloaded_as_one_verified_archive(tmp_path, server, monkeypatch):
    files = cifar_files()
    server.files["/c.tar.gz"] = cifar_archive({**files, "../../evil": b"x", "readme.html": b"x"})
    publish(
        monkeypatch, "cifar10", {file: digest(content) for file, content in files.items()}, server.url + "/c.tar.gz"
    )
    data = check(datasets.load("cifar10"))
    assert len(data.train) == 20 and cached(tmp_path, "cifar10") == sorted(files) and len(server.requests) == 1
    datasets.load("cifar10")
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["incomplete", "not an archive", "cut"])
def test_a_bad_cifar10_download_leaves_nothing(tmp_path, server, monkeypatch, fault):
    files = cifar_files()
    archive = cifar_archive(files)
    short = cifar_archive({file: content for file, content in files.items() if file != "data_batch_3"})
    server.files["/c.tar.gz"] = {"incomplete": short, "not an archive": b"x" * 999, "cut": archive[:5000]}[fault]
    publish(
        monkeypatch, "cifar10", {file: digest(content) for file, content in files.items()}, server.url + "/c.tar.gz"
    )
    assert "put cifar-10-python.tar.gz into" in error("cifar10") and cached(tmp_path, "cifar10") == []


class Evil:
    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused(tmp_path, protocol):
    evil = Evil()
    evil.path = Evil.path = tmp_path / "owned"
    files = {**cifar_files(), "data_batch_2": pickle.dumps({b"data": evil, b"labels": []}, protocol)}
    write(tmp_path / "cifar10", files)
    message = error("cifar10", tmp_path)
    assert "data_batch_2 is not a CIFAR-10 batch" in message and "asks for" in message
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "globals_",
    [b"cbuiltins\neval\n", b"cnumpy\nload\n", b"cnumpy.core.multiarray\nscalar\n", b"cnumpy\nndarray.tofile\n"],
)
def test_only_what_arrays_need_is_allowed(tmp_path, globals_):
    write(tmp_path, {**cifar_files(), "test_batch": b"\x80\x02" + globals_ + b"."})
    assert "asks for" in error("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "EOFError"),
        (cifar_files()["test_batch"][:200], "not a CIFAR-10 batch"),
        (pickle.dumps([1, 2]), "not a CIFAR-10 batch"),
        (pickle.dumps({"data": 1}), "KeyError"),
        (python2_pickle(np.zeros((4, 100), np.uint8), [0] * 4), "data is uint8 (4, 100)"),
        (python2_pickle(np.zeros((4, 3072), np.uint8), [0] * 3), "data is uint8 (4, 3072)"),
    ],
)
def test_malformed_cifar10_names_the_file(tmp_path, content, words):
    write(tmp_path, {**cifar_files(), "test_batch": content})
    message = error("cifar10", tmp_path)
    assert words in message and str(tmp_path / "test_batch") in message


def test_a_broken_local_archive_is_one_line(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(cifar_archive(cifar_files())[:3000])
    assert f"{path} is not a readable archive" in error("cifar10", tmp_path)


# A folder of images


def save_images(folder, num, size=(6, 5), mode="RGB", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(seed)
    for i in range(num):
        pixels = random.randint(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i:03}.png")


def test_a_folder_of_images(tmp_path):
    save_images(tmp_path / "art", 40)
    (tmp_path / "art" / "README.txt").write_text("ignored")
    (tmp_path / "art" / "._000.png").write_text("what a Mac leaves behind")
    data = check(datasets.load(str(tmp_path / "art")))
    assert data.name == "art" and data.train.shape[1:] == (3, 5, 6) and data.train_label is None
    assert len(data.train) + len(data.test) == 40 and 1 <= len(data.test) <= 10
    first = np.asarray(Image.open(tmp_path / "art" / "000.png")).transpose(2, 0, 1)
    assert any((image == first).all() for image in (*data.train, *data.test))


def test_the_split_of_a_folder_does_not_move_when_files_are_added(tmp_path):
    save_images(tmp_path / "a", 60)
    before = datasets.load(str(tmp_path / "a"))
    save_images(tmp_path / "b", 90)  # the same sixty, and thirty more
    after = datasets.load(str(tmp_path / "b"))
    assert {image.tobytes() for image in before.test} <= {image.tobytes() for image in after.test}
    assert {image.tobytes() for image in before.train} <= {image.tobytes() for image in after.train}


def test_folders_in_a_folder_are_labels(tmp_path):
    for i, name in enumerate(("cat", "ant", "bee")):
        save_images(tmp_path / name, 30, mode="L", seed=i)
    data = check(datasets.load(str(tmp_path)))
    assert data.train.shape[1:] == (1, 5, 6) and data.num_classes == 3  # grey stays grey
    ant = {np.asarray(Image.open(path)).tobytes() for path in (tmp_path / "ant").iterdir()}
    for image, label in ((data.train, data.train_label), (data.test, data.test_label)):
        assert [one.tobytes() in ant for one in image] == [one == 0 for one in label]  # in alphabetical order


@pytest.mark.parametrize("labelled", [False, True])
def test_train_and_test_folders_are_the_split_not_labels(tmp_path, labelled):
    for split, num in (("train", 8), ("test", 3)):
        for i, name in enumerate(("x", "y") if labelled else ("",)):
            save_images(tmp_path / split / name, num, seed=i)
    data = check(datasets.load(str(tmp_path)))
    assert (len(data.train), len(data.test)) == ((16, 6) if labelled else (8, 3))
    assert data.num_classes == (2 if labelled else None)
    assert not labelled or data.train_label.tolist() == [0] * 8 + [1] * 8


def test_one_colour_image_makes_all_colour(tmp_path):
    save_images(tmp_path, 5, mode="L")
    Image.new("P", (6, 5)).save(tmp_path / "palette.gif")
    assert datasets.load(str(tmp_path)).train.shape[1] == 3


def test_photographs_are_turned_as_their_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    for i in range(4):
        Image.new("RGB", (8, 4)).save(tmp_path / f"{i}.jpg", exif=exif)
    assert datasets.load(str(tmp_path)).train.shape[1:] == (3, 8, 4)


def test_bad_folders_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no images but 0 other files" in error(tmp_path / "empty")

    save_images(tmp_path / "sizes", 3)
    save_images(tmp_path / "sizes" / "more", 2, size=(9, 9))
    assert "lies beside the folders" in error(tmp_path / "sizes")
    shutil.move(tmp_path / "sizes" / "more" / "000.png", tmp_path / "sizes" / "big.png")
    shutil.rmtree(tmp_path / "sizes" / "more")
    message = error(tmp_path / "sizes")
    assert "images of 2 sizes (3 of 6x5, 1 of 9x9" in message and "resize" in message

    save_images(tmp_path / "fake", 3)
    (tmp_path / "fake" / "x.jpg").write_text("not an image")
    assert f"{tmp_path / 'fake' / 'x.jpg'} is not a readable image" in error(tmp_path / "fake")

    save_images(tmp_path / "cut", 3)
    content = (tmp_path / "cut" / "001.png").read_bytes()
    (tmp_path / "cut" / "001.png").write_bytes(content[: len(content) // 2])
    assert "001.png is not a readable image" in error(tmp_path / "cut")

    save_images(tmp_path / "deep", 2)
    Image.fromarray(np.full((5, 6), 9999, np.uint16)).save(tmp_path / "deep" / "x.png")
    assert "more than 8 bits" in error(tmp_path / "deep")

    save_images(tmp_path / "one", 1)
    assert "at least one of each" in error(tmp_path / "one")


# npz


def test_npz_as_rlgen_sample_writes_it(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (50, 6, 4, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(50, dtype=np.int32) % 7)
    data = check(datasets.load(str(tmp_path / "x.npz")))
    assert data.name == "x" and data.train.shape == (45, 3, 6, 4) and data.test.shape == (5, 3, 6, 4)
    assert data.num_classes == 7
    label_of = {image.transpose(2, 0, 1).tobytes(): i % 7 for i, image in enumerate(images)}
    for image, label in ((data.train, data.train_label), (data.test, data.test_label)):
        assert [label_of[one.tobytes()] for one in image] == label.tolist()
    np.testing.assert_array_equal(data.test, datasets.load(str(tmp_path / "x.npz")).test)


def test_npz_grey_with_its_own_test_images(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (6, 5, 4), np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=images[:4], test_images=images[4:], labels=[0, 1, 2, 0])
    data = check(datasets.load(str(tmp_path / "x.npz")))
    np.testing.assert_array_equal(data.train[:, 0], images[:4])
    np.testing.assert_array_equal(data.test[:, 0], images[4:])
    assert data.train_label.tolist() == [0, 1, 2, 0] and data.test_label is None


ZEROS = np.zeros((4, 8, 8, 1), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": ZEROS}, "holds x: it needs `images`"),
        ({"images": ZEROS.astype(np.float32)}, "images is float32: it needs uint8"),
        ({"images": ZEROS.transpose(0, 3, 1, 2)}, "has shape [4, 1, 8, 8]"),
        ({"images": ZEROS[0, 0]}, "has shape [8, 1]"),
        ({"images": np.array([None, ZEROS], object)}, "cannot be read as .npz"),
        ({"images": ZEROS, "labels": np.zeros(3, int)}, "4 training images but 3 labels"),
        ({"images": ZEROS, "labels": np.zeros(4)}, "labels is float64 [4]: it needs integers [N]"),
        ({"images": ZEROS, "labels": np.array([0, 1, -1, 0])}, "label -1 is negative"),
        ({"images": ZEROS, "test_images": np.zeros((2, 9, 9), np.uint8)}, "test images (1, 9, 9)"),
        ({"images": ZEROS, "test_images": ZEROS[:0]}, "4 training and 0 test images"),
        ({"images": ZEROS[:1]}, "1 training and 0 test images"),
        ({"images": ZEROS[:0]}, "0 training and 0 test images"),
    ],
)
def test_malformed_npz_is_one_line(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    message = error(tmp_path / "x.npz")
    assert words in message and str(tmp_path / "x.npz") in message


def test_a_file_that_is_no_npz_is_one_line(tmp_path):
    np.savez(tmp_path / "cut.npz", images=ZEROS)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-50])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    with open(tmp_path / "npy.npz", "wb") as file:
        np.save(file, ZEROS)
    for name in ("cut", "text", "empty", "npy"):
        assert f"{name}.npz cannot be read as .npz" in error(tmp_path / f"{name}.npz")


# The real thing, where it is


REAL = Path(os.environ.get("RLGEN_DATA", "")) / "fashion-mnist"


@pytest.mark.skipif(not (REAL / f"{TRAIN}.gz").is_file(), reason="RLGEN_DATA holds no fashion-mnist")
def test_real_fashion_mnist():
    data = check(datasets.load("fashion-mnist", str(REAL.parent)))
    assert data.train.shape == (60000, 1, 28, 28) and data.test.shape == (10000, 1, 28, 28) and data.num_classes == 10
    assert (
        np.bincount(data.train_label).tolist() == [6000] * 10 and np.bincount(data.test_label).tolist() == [1000] * 10
    )
    assert data.sha256 == datasets.KNOWN["fashion-mnist"].sha256 and data.source == str(REAL)
    assert math.isclose(data.train.mean() / 255, 0.2860, abs_tol=1e-4)  # the well-known mean
