import gzip
import os
import pickle

import numpy as np
import pytest
from image_files import (
    TEST,
    TEST_LABEL,
    TRAIN,
    TRAIN_LABEL,
    check,
    cifar_files,
    error,
    idx,
    idx_files,
    python2_pickle,
    write,
)

from rlgen.data.load import load

GOOD = idx_files()


def test_a_folder_of_idx_files_needs_only_training_images(tmp_path):
    files = idx_files(num_train=30)
    folder = write(tmp_path / "letters", {TRAIN: files[TRAIN]})
    data = check(load(str(folder)))
    assert data.name == "letters" and data.train_label is None and data.num_classes is None
    assert (len(data.train), len(data.test)) == (27, 3)
    both = {image.tobytes() for image in (*data.train, *data.test)}
    assert len(both) == 30  # a partition
    np.testing.assert_array_equal(data.test, load(str(folder)).test)

    write(folder, files)
    data = check(load(str(folder)))
    assert (len(data.train), len(data.test), data.num_classes) == (30, 4, 3)


def test_idx_files_of_other_names_are_explained(tmp_path):
    write(tmp_path, {"emnist-letters-train-images-idx3-ubyte": idx_files()[TRAIN]})
    assert f"no {TRAIN}[.gz]: rename" in error(tmp_path)


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
    assert "data_batch_2 is not a CIFAR batch" in message and "asks for" in message
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
        (cifar_files()["test_batch"][:200], "not a CIFAR batch"),
        (pickle.dumps([1, 2]), "not a CIFAR batch"),
        (pickle.dumps({"data": 1}), "KeyError"),
        (python2_pickle(np.zeros((4, 100), np.uint8), [0] * 4), "data is uint8 (4, 100)"),
        (python2_pickle(np.zeros((4, 3072), np.uint8), [0] * 3), "data is uint8 (4, 3072)"),
    ],
)
def test_malformed_cifar10_names_the_file(tmp_path, content, words):
    write(tmp_path, {**cifar_files(), "test_batch": content})
    message = error("cifar10", tmp_path)
    assert words in message and str(tmp_path / "test_batch") in message


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
@pytest.mark.parametrize("name", ["cifar-10-batches-py", "cifar-100-python"])
def test_batches_that_python_3_wrote_are_read_with_all_that_lies_beside_them(tmp_path, name, protocol):
    fine = name == "cifar-100-python"
    parts = {"train": 200, "test": 100} if fine else {f"data_batch_{i}": 20 for i in range(1, 6)} | {"test_batch": 10}
    other = {"meta": {}, "file.txt~": ""} if fine else {"batches.meta": {}, "readme.html": ""}
    folder = tmp_path / name
    folder.mkdir()
    for i, (part, num) in enumerate(parts.items()):
        batch = {b"data": np.full((num, 3072), 10 * i + 200, np.uint8), b"filenames": [b"a.png"] * num}
        labels = [label % 100 for label in range(num)] if fine else [label % 10 for label in range(num)]
        batch |= {b"fine_labels": labels, b"coarse_labels": [0] * num} if fine else {b"labels": labels}
        (folder / part).write_bytes(pickle.dumps(batch, protocol))
    for part, content in other.items():
        (folder / part).write_bytes(pickle.dumps(content, protocol))
    data = load(str(folder))
    assert (len(data.train), len(data.test), data.num_classes) == ((200, 100, 100) if fine else (100, 10, 10))
    assert data.train.shape[1:] == (3, 32, 32) and sorted(set(data.train_label)) == list(range(100 if fine else 10))
