"""An `.npz` of images: what is read, what is refused, and how much memory that takes."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from image_files import check, error

from rlgen.data.load import load


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
