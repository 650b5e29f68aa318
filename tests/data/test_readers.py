import gzip
import os
import pickle
import shutil

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
    save_images,
    write,
)
from PIL import Image

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


def test_a_folder_of_images(tmp_path):
    save_images(tmp_path / "art", 40)
    (tmp_path / "art" / "README.txt").write_text("ignored")
    (tmp_path / "art" / "._000.png").write_text("what a Mac leaves behind")
    data = check(load(str(tmp_path / "art")))
    assert data.name == "art" and data.train.shape[1:] == (3, 5, 6) and data.train_label is None
    assert len(data.train) + len(data.test) == 40 and 1 <= len(data.test) <= 10
    first = np.asarray(Image.open(tmp_path / "art" / "000.png")).transpose(2, 0, 1)
    assert any((image == first).all() for image in (*data.train, *data.test))


def test_folders_in_a_folder_are_labels(tmp_path):
    for i, name in enumerate(("cat", "ant", "bee")):
        save_images(tmp_path / name, 30, mode="L", seed=i)
    data = check(load(str(tmp_path)))
    assert data.train.shape[1:] == (1, 5, 6) and data.num_classes == 3  # grey stays grey
    ant = {np.asarray(Image.open(path)).tobytes() for path in (tmp_path / "ant").iterdir()}
    for image, label in ((data.train, data.train_label), (data.test, data.test_label)):
        assert [one.tobytes() in ant for one in image] == [one == 0 for one in label]  # in alphabetical order


@pytest.mark.parametrize("labelled", [False, True])
def test_train_and_test_folders_are_the_split_not_labels(tmp_path, labelled):
    for split, num in (("train", 8), ("test", 3)):
        for i, name in enumerate(("x", "y") if labelled else ("",)):
            save_images(tmp_path / split / name, num, seed=i)
    data = check(load(str(tmp_path)))
    assert (len(data.train), len(data.test)) == ((16, 6) if labelled else (8, 3))
    assert data.num_classes == (2 if labelled else None)
    assert not labelled or data.train_label.tolist() == [0] * 8 + [1] * 8


def test_one_colour_image_makes_all_colour(tmp_path):
    save_images(tmp_path, 5, mode="L")
    Image.new("P", (6, 5)).save(tmp_path / "palette.gif")
    assert load(str(tmp_path)).train.shape[1] == 3


def test_photographs_are_turned_as_their_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    for i in range(4):
        Image.new("RGB", (8, 4)).save(tmp_path / f"{i}.jpg", exif=exif)
    assert load(str(tmp_path)).train.shape[1:] == (3, 8, 4)


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


def test_npz_as_rlgen_sample_writes_it(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (50, 6, 4, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(50, dtype=np.int32) % 7)
    data = check(load(str(tmp_path / "x.npz")))
    assert data.name == "x" and data.train.shape == (45, 3, 6, 4) and data.test.shape == (5, 3, 6, 4)
    assert data.num_classes == 7
    label_of = {image.transpose(2, 0, 1).tobytes(): i % 7 for i, image in enumerate(images)}
    for image, label in ((data.train, data.train_label), (data.test, data.test_label)):
        assert [label_of[one.tobytes()] for one in image] == label.tolist()
    np.testing.assert_array_equal(data.test, load(str(tmp_path / "x.npz")).test)


def test_npz_grey_with_its_own_test_images(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (6, 5, 4), np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=images[:4], test_images=images[4:], labels=[0, 1, 2, 0])
    data = check(load(str(tmp_path / "x.npz")))
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
