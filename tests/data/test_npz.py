"""An `.npz` of images: what is read, what is refused, and how much memory that takes."""

import io
import os
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from image_files import check, error

from rlgen.data import npz
from rlgen.data.load import load
from rlgen.data.preparation import Preparation


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
        ({"a": ZEROS, "b": ZEROS}, "holds a, b: it needs `images`"),
        ({"images": ZEROS[0, 0]}, "has shape [8, 1]"),
        ({"images": np.zeros((4, 8, 8, 2), np.uint8)}, "has shape [4, 8, 8, 2]: it needs [N, H, W, C] or"),
        ({"images": np.zeros((32, 32, 3), np.uint8)}, "or [N, H * H]; is it one image?"),
        ({"images": np.array([None, ZEROS], object)}, "images holds Python objects: it needs numbers, all images in"),
        ({"images": np.array([["a"]])}, "images is <U1: it needs numbers"),
        ({"images": ZEROS.astype(complex)}, "images is complex128: it needs numbers"),
        ({"test_images": ZEROS}, "has test images but none to train on"),
        ({"images": ZEROS, "labels": np.zeros(3, int)}, "4 training images but 3 labels"),
        ({"images": ZEROS, "labels": np.array([0, 1, -1, 0])}, "label -1 is negative"),
        ({"images": ZEROS, "test_images": np.zeros((2, 9, 9), np.uint8)}, "test images (1, 9, 9)"),
        ({"images": ZEROS, "test_images": ZEROS[:0]}, "4 training and 0 test images"),
        ({"images": ZEROS[:1]}, "1 training and 0 test images"),
        ({"images": ZEROS[:0]}, "0 training and 0 test images"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "0 training and 0 test images"),
        ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, "0 training and 0 test images"),
        ({"images": np.zeros((0, 3, 8, 8))}, "0 training and 0 test images"),
        ({"images": np.zeros((0, 64))}, "0 training and 0 test images"),
        ({"images": ZEROS, "test_images": np.zeros((0, 8, 8))}, "4 training and 0 test images"),
        ({"images": np.zeros((4, 0, 8, 3))}, "images has shape [4, 0, 8, 3]: its images need at least one pixel"),
        ({"images": np.zeros((4, 8, 0))}, "images has shape [4, 8, 0]: its images need at least one pixel"),
    ],
)
def test_malformed_npz_is_one_line(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    message = error(tmp_path / "x.npz")
    assert words in message and str(tmp_path / "x.npz") in message


KERAS = {"x_train": 20, "y_train": 20, "x_test": 4, "y_test": 4}
MEDMNIST = {
    f"{part}_{kind}": num for kind in ("images", "labels") for part, num in (("train", 20), ("val", 6), ("test", 4))
}
LAYOUTS = {
    "keras": (KERAS, (20, 4)),
    "upper case": ({"X_train": 20, "Y_train": 20, "X_test": 4, "Y_test": 4}, (20, 4)),
    "glued": ({"trainX": 20, "trainY": 20, "testX": 4, "testY": 4}, (20, 4)),
    "turned": ({"train_x": 20, "train_y": 20, "valid_x": 4, "valid_y": 4}, (20, 4)),
    "medmnist": (MEDMNIST, (20, 6)),
    "parts alone": ({"train": 20, "test": 4}, (20, 4)),
    "spelled out": ({"training_images": 20, "training_labels": 20, "validation_images": 4}, (20, 4)),
    "arr_0": ({"arr_0": 20}, (18, 2)),
    "arr_1": ({"arr_0": 20, "arr_1": 20}, (18, 2)),
    "x and y": ({"x": 20, "y": 20}, (18, 2)),
    "dsprites": ({"imgs": 20, "latents_values": 20}, (18, 2)),
    "data": ({"data": 20, "target": 20}, (18, 2)),
    "one array": ({"galaxies": 20}, (18, 2)),
}


def some(num, name):
    """Images, or labels [N, 1], as they would be under that name."""
    is_label = (
        name.lower().strip("trainesvld_") == "y" or "label" in name or name in ("arr_1", "target", "latents_values")
    )
    random = np.random.RandomState(zlib.crc32(name.encode()))
    return np.arange(num)[:, None] % 3 if is_label else random.randint(0, 256, (num, 5, 6), np.uint8)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_usual_names_are_known(tmp_path, layout):
    names, nums = LAYOUTS[layout]
    arrays = {name: some(num, name) for name, num in names.items()}
    np.savez(tmp_path / "x.npz", **arrays)
    data = check(load(str(tmp_path / "x.npz")))
    assert (len(data.train), len(data.test)) == nums and data.train.shape[1:] == (1, 5, 6)
    first = next(name for name, array in arrays.items() if array.ndim == 3)
    assert {image.tobytes() for image in data.train} <= {image.tobytes() for image in arrays[first]}
    labelled = any("y" in name.lower() or "label" in name for name in names) or layout in ("arr_1", "data")
    assert (data.num_classes == 3) == labelled
    if layout == "medmnist":
        assert {image.tobytes() for image in data.test} == {image.tobytes() for image in arrays["val_images"]}
        assert "left aside: test_images, test_labels" in data.about()
        assert len(load(str(tmp_path / "x.npz"), asked="test").test) == 4
        assert len(load(str(tmp_path / "x.npz"), preparation=Preparation(holdout=0.5)).test) == 10


def test_parts_that_are_left_aside_are_not_read(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=ZEROS, x_val=ZEROS, x_test=np.zeros((1000, 100, 100), np.uint8))
    assert len(load(str(tmp_path / "x.npz"), max_memory="1MB").train) == 4


def test_the_more_usual_name_wins(tmp_path):
    np.savez(tmp_path / "x.npz", data=ZEROS[:, :2, :2], images=ZEROS)
    assert load(str(tmp_path / "x.npz")).train.shape[1:] == (1, 8, 8)


def test_a_npy_holds_the_images(tmp_path):
    np.save(tmp_path / "x.npy", some(20, "x"))
    data = check(load(str(tmp_path / "x.npy")))
    assert data.name == "x" and (len(data.train), len(data.test)) == (18, 2)
    np.save(tmp_path / "x.npy", np.array([{"images": 1}]))
    assert "holds Python objects" in error(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:20])
    assert "x.npy cannot be read as .npy" in error(tmp_path / "x.npy")


def test_labels_of_objects_are_left_out_and_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", images=ZEROS, labels=np.array(["a", None, 1, 2], object))
    data = load(str(tmp_path / "x.npz"))
    assert data.num_classes is None and "left aside: labels" in data.about()


def test_an_npy_of_another_type_has_to_fit_beside_its_uint8(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((100, 100, 100), np.float32))
    assert len(load(str(tmp_path / "x.npy"), max_memory="5.1MB").train) == 90
    assert "needs 4.8 MiB of memory" in error(tmp_path / "x.npy", max_memory="4.9MB")


@pytest.mark.parametrize("shape", [(2**15, 1000, 1000), (2**35,)])  # too much, and no images
def test_a_large_file_is_refused_by_its_header_before_it_is_read_for_its_checksum(tmp_path, monkeypatch, shape):
    path = tmp_path / "x.npy"
    path.write_bytes(header(shape))
    os.truncate(path, 2**35)  # sparse
    monkeypatch.setattr(npz, "file_digest", lambda path: pytest.fail("all of it was read"))
    message = error(path, max_memory="10MB")
    assert "more than is left of --max-" in message or "has shape [34359738368]" in message


def test_a_file_that_is_no_npz_is_one_line(tmp_path):
    np.savez(tmp_path / "cut.npz", images=ZEROS)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-50])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    with open(tmp_path / "npy.npz", "wb") as file:
        np.save(file, ZEROS)
    for name in ("cut", "text", "empty", "npy"):
        assert f"{name}.npz cannot be read as .npz" in error(tmp_path / f"{name}.npz")


def traced(call):
    """What the call returns, and the most bytes that it had."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def zipped(path, content, name="images.npy", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, content)
    return path


def header(shape, version=(1, 0)):
    stream = io.BytesIO()
    write = {(1, 0): np.lib.format.write_array_header_1_0, (2, 0): np.lib.format.write_array_header_2_0}[version]
    write(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_a_small_file_of_a_large_array_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.zeros((50, 1000, 1000), np.uint8))
    assert path.stat().st_size < 100_000
    message, peak = traced(lambda: error(path, max_memory="10MB"))
    assert message.startswith(f"{path}: images [50, 1000, 1000] needs 47.7 MiB of memory, more than is left of --max-")
    assert peak < 2e6


@pytest.mark.parametrize(
    "content",
    [
        header((4, 5, 4)) + bytes(50_000_000),  # more than it says: what it says is read
        header((2**40, 2**10, 2**10)),  # more than there is
        header((4, 5, 4)),
        header((2, 5, 4), (2, 0))[:8] + (10**9).to_bytes(4, "little") + bytes(50_000_000),  # a header of 1 GB
        header((4, 5, 4)).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x09"),
        header((4, 5, 4)).replace(b"|u1", b"|O "),
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_header_that_lies_costs_no_memory(tmp_path, content, compression):
    path = zipped(tmp_path / "lies.npz", content, compression=compression)

    def attempt():
        if compression == zipfile.ZIP_DEFLATED and len(content) > 5e7 and content[6] == 1:
            assert len(load(str(path), max_memory="10MB").train) == 3
        else:
            assert str(path) in error(path, max_memory="10MB")

    assert traced(attempt)[1] < 5e6


@pytest.mark.parametrize(("channels", "order"), [(1, "C"), (3, "C"), (4, "C"), (3, "F")])
def test_an_npz_takes_the_memory_of_its_array_and_keeps_every_pixel(tmp_path, channels, order):
    images = np.random.RandomState(0).randint(0, 256, (120, 200, 100, channels), np.uint8)
    np.savez(tmp_path / "x.npz", images=np.asarray(images, order=order), labels=np.arange(120))
    data, peak = traced(lambda: check(load(str(tmp_path / "x.npz"))))
    assert peak < (2.3 if order == "F" else 1.3) * images.nbytes + 5e6
    for image, label in ((data.train, data.train_label), (data.test, data.test_label)):
        np.testing.assert_array_equal(image, images[label].transpose(0, 3, 1, 2))
