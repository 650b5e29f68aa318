"""Data sets as files, made small: IDX, CIFAR-10 batches, folders of images; known sets with bytes of their own."""

import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rlgen.data.known import IDX_FILES, KNOWN
from rlgen.data.load import load
from rlgen.errors import UsageError

TRAIN, TRAIN_LABEL, TEST, TEST_LABEL = IDX_FILES


def publish(monkeypatch, name, sha256, *urls):
    entry = KNOWN[name]
    monkeypatch.setitem(KNOWN, name, replace(entry, sha256=sha256, urls=urls))


def error(name, data_dir=None, kind=UsageError, max_memory=None, **options):
    with pytest.raises(kind) as caught:
        load(str(name), str(data_dir) if data_dir else None, max_memory, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def check(data):
    """What holds for every data set."""
    for image, label in ((data.train, data.train_label), (data.test, data.test_label)):
        assert image.dtype == np.uint8 and image.ndim == 4 and len(image) > 0
        assert image.flags.writeable and image.flags.c_contiguous
        assert label is None or (label.dtype == np.int64 and label.shape == image.shape[:1])
    assert data.train.shape[1:] == data.test.shape[1:]
    assert data.sha256 and all(len(value) == 64 for value in data.sha256.values())
    return data


def digest(content):
    return hashlib.sha256(content).hexdigest()


def write(folder, files, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / (file + ".gz" * compress)).write_bytes(gzip.compress(content) if compress else content)
    return folder


def idx(array, dtype=0x08):
    return bytes([0, 0, dtype, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_files(num_train=12, num_test=4, seed=0):
    random = np.random.RandomState(seed)
    files = {}
    for images, labels, num in ((TRAIN, TRAIN_LABEL, num_train), (TEST, TEST_LABEL, num_test)):
        files[images] = idx(random.randint(0, 256, (num, 5, 4), np.uint8))
        files[labels] = idx((np.arange(num) % 3).astype(np.uint8))
    return files


def python2_pickle(image, labels, key=b"labels"):
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
    return b"\x80\x02}(" + string(b"data") + array + string(key) + label + b"u."


def cifar_files():
    random = np.random.RandomState(0)
    files = {}
    for i, file in enumerate(KNOWN["cifar10"].sha256):
        files[file] = python2_pickle(random.randint(0, 256, (4, 3072), np.uint8), [i, 9, 0, 1])
    return files


def cifar100_files():
    """Batches with the labels of CIFAR-100."""
    random = np.random.RandomState(0)
    files = {}
    for file, num in (("train", 6), ("test", 3)):
        image, fine = random.randint(0, 256, (num, 3072), np.uint8), [99, *range(1, num)]
        files[file] = python2_pickle(image, fine, b"fine_labels")
    return files


def cifar_archive(files, folder="cifar-10-batches-py"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def save_images(folder, num, size=(6, 5), mode="RGB", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(seed)
    for i in range(num):
        pixels = random.randint(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i:03}.png")
