import math
import os
from pathlib import Path

import numpy as np
import pytest
from image_files import (
    TEST_LABEL,
    TRAIN,
    check,
    cifar100_files,
    cifar_archive,
    cifar_files,
    digest,
    error,
    idx_files,
    publish,
    write,
)

from rlgen.data.known import KNOWN
from rlgen.data.load import load
from rlgen.data.preparation import Preparation


def test_digits_are_scaled_and_split_evenly():
    data = check(load("digits"))
    assert data.train.shape == (1438, 1, 8, 8) and data.test.shape == (359, 1, 8, 8) and data.num_classes == 10
    assert data.train.min() == 0 and data.train.max() == 255
    assert len(np.unique(data.train)) == 17  # sixteen steps up from 0
    share = np.bincount(data.test_label) / (np.bincount(data.test_label) + np.bincount(data.train_label))
    assert np.abs(share - 0.2).max() < 0.005
    again = load("digits")
    np.testing.assert_array_equal(data.test, again.test)
    # The split is the same on every machine and in every version: published numbers depend on it.
    assert digest(data.test.tobytes())[:16] == "2f5eb12f1dfec8a2"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_mnist_is_read_from_its_folder_or_the_directory_itself(tmp_path, compress, named):
    files = idx_files()
    place = write(tmp_path / "data" / ("mnist" if named else ""), files, compress)
    data = check(load("mnist", str(tmp_path / "data")))
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
    assert load("mnist").train[0, 0, 0, 0] == first[2]
    monkeypatch.setenv("RLGEN_DATA", str(tmp_path / "env"))
    assert load("mnist").train[0, 0, 0, 0] == first[1]
    assert load("mnist", str(tmp_path / "given")).train[0, 0, 0, 0] == first[0]


def test_the_folder_of_the_name_goes_before_the_directory_itself(tmp_path):
    write(tmp_path, idx_files(num_train=20))
    write(tmp_path / "fashion-mnist", idx_files(num_train=30))
    assert len(load("fashion-mnist", str(tmp_path)).train) == 30
    assert len(load("mnist", str(tmp_path)).train) == 20


def test_one_data_set_is_not_taken_for_another(tmp_path, monkeypatch):
    files = idx_files()
    publish(monkeypatch, "mnist", {file: digest(content) for file, content in files.items()})
    write(tmp_path, files)
    assert load("mnist", str(tmp_path)).source == str(tmp_path)
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


@pytest.mark.parametrize("form", ["archive", "extracted", "files"])
def test_cifar10_is_read_from_the_archive_or_extracted(tmp_path, form):
    files = cifar_files()
    if form == "archive":
        write(tmp_path / "cifar10", {"cifar-10-python.tar.gz": cifar_archive({**files, "readme.html": b"hello"})})
    else:
        write(tmp_path / "cifar10" / ("cifar-10-batches-py" if form == "extracted" else ""), files)
    data = check(load("cifar10", str(tmp_path)))
    assert data.train.shape == (20, 3, 32, 32) and data.test.shape == (4, 3, 32, 32) and data.num_classes == 10
    assert data.train_label.tolist() == [label for i in range(5) for label in (i, 9, 0, 1)]
    expected = np.random.RandomState(0).randint(0, 256, (4, 3072), np.uint8)
    np.testing.assert_array_equal(data.train[:4].reshape(4, -1), expected)
    assert data.sha256 == {file: digest(content) for file, content in files.items()}


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("fashion-mnist", "fashion-mnist/FashionMNIST/raw"),
        ("cifar10", "cifar-10-batches-py"),
        ("cifar10", "cifar-10-batches-py-target/cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("cifar100", "cifar100/cifar-100-python"),
    ],
)
def test_the_folders_of_torchvision_and_keras_are_a_data_dir(tmp_path, name, folder):
    files = {"cifar10": cifar_files, "cifar100": cifar100_files}.get(name, idx_files)()
    write(tmp_path / folder, files)
    data = check(load(name, str(tmp_path)))
    assert data.name == name and data.source == f"{tmp_path / folder} (not the published bytes)"


def test_mnist_of_keras_is_found(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (20, 5, 4), np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=np.arange(20) % 3, x_test=images[:3], y_test=[0, 1, 2])
    data = check(load("mnist", str(tmp_path)))
    assert data.name == "mnist" and (len(data.train), len(data.test), data.num_classes) == (20, 3, 3)


@pytest.mark.parametrize("form", ["archive", "files"])
def test_cifar100_has_the_fine_labels(tmp_path, form):
    files = cifar100_files()
    if form == "archive":
        archive = cifar_archive({**files, "meta": b"x"}, "cifar-100-python")
        write(tmp_path / "cifar100", {"cifar-100-python.tar.gz": archive})
    else:
        write(tmp_path / "cifar100", files)
    data = check(load("cifar100", str(tmp_path)))
    assert data.train.shape == (6, 3, 32, 32) and data.test.shape == (3, 3, 32, 32)
    assert data.train_label.tolist() == [99, 1, 2, 3, 4, 5] and data.test_label.tolist() == [99, 1, 2]
    assert data.num_classes == 100


def test_the_batches_of_cifar10_are_put_in_order(tmp_path):
    files = cifar_files()
    shuffled = {file: files[file] for file in sorted(files, reverse=True)}  # as they lie in the published archive: any
    write(tmp_path, {"cifar-10-python.tar.gz": cifar_archive(shuffled)})
    assert load("cifar10", str(tmp_path)).train_label[::4].tolist() == [0, 1, 2, 3, 4]


REAL = Path(os.environ.get("RLGEN_DATA", "")) / "fashion-mnist"


@pytest.mark.skipif(not (REAL / f"{TRAIN}.gz").is_file(), reason="RLGEN_DATA holds no fashion-mnist")
def test_real_fashion_mnist():
    data = check(load("fashion-mnist", str(REAL.parent)))
    assert data.train.shape == (60000, 1, 28, 28) and data.test.shape == (10000, 1, 28, 28) and data.num_classes == 10
    assert (
        np.bincount(data.train_label).tolist() == [6000] * 10 and np.bincount(data.test_label).tolist() == [1000] * 10
    )
    assert data.sha256 == KNOWN["fashion-mnist"].sha256 and data.source == str(REAL)
    assert math.isclose(data.train.mean() / 255, 0.2860, abs_tol=1e-4)  # the well-known mean


def test_stacked_digits_are_digits_of_their_part_in_three_colours():
    digits, data = load("digits"), load("stacked-digits")
    assert (data.train.shape, data.test.shape, data.num_classes) == ((50_000, 3, 8, 8), (10_000, 3, 8, 8), 1000)
    for images, labels, single, own in (
        (data.train, data.train_label, digits.train, digits.train_label),
        (data.test, data.test_label, digits.test, digits.test_label),
    ):
        assert labels is not None and own is not None
        label_of = {image.tobytes(): label for image, label in zip(single, own, strict=True)}
        for image, label in zip(images[:500], labels[:500], strict=True):
            assert [label_of[channel.tobytes()] for channel in image] == [label // 100, label // 10 % 10, label % 10]
        counts = np.bincount(labels, minlength=1000)
        assert (counts > 0).sum() > 995 and abs(counts.var() / counts.mean() - 1) < 0.3, "as often as chance has it"
    assert load("stacked-digits").digest() == data.digest() != digits.digest()
    assert len(load("stacked-digits", preparation=Preparation(image_size=16)).train[0, 0]) == 16
