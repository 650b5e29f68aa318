"""Arrays as other people save them: layouts, types, ranges, labels."""

import numpy as np
import pytest

from rlgen.data.arrays import as_images, as_labels, check_images
from rlgen.errors import UsageError

GREY = np.random.RandomState(0).randint(0, 256, (6, 8, 9), np.uint8)
COLOUR = np.random.RandomState(0).randint(0, 256, (6, 8, 9, 3), np.uint8)
GREY[0, 0, :2] = COLOUR[0, 0, 0, :2] = 0, 255


def read(array):
    check_images(array.shape, array.dtype, "x")
    image, notes = as_images(array.copy(), "x")
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    return image, notes


def refused(array):
    with pytest.raises(UsageError) as caught:
        read(array)
    return str(caught.value)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (np.asfortranarray(COLOUR), COLOUR.transpose(0, 3, 1, 2)),
        (GREY[:, :8, :8].reshape(6, 64), GREY[:, None, :8, :8]),
    ],
)
def test_every_layout_keeps_every_pixel(array, expected):
    np.testing.assert_array_equal(read(array)[0], expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_values_in_0_to_1_are_stretched(dtype):
    image, notes = read((GREY / 255).astype(dtype))
    assert np.abs(image[:, 0].astype(int) - GREY).max() <= (1 if dtype == "float16" else 0)
    assert notes == ["0..1 is taken as 0..255"]
    over = (GREY / 255).astype("float32") * 1.001 - 0.0005  # what rounding and resizing leave
    assert np.abs(read(over)[0][:, 0].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("dtype", ["int64", "uint16", ">i4", "float32"])
def test_values_in_0_to_255_of_another_type_stay(dtype):
    image, notes = read(GREY.astype(dtype))
    np.testing.assert_array_equal(image[:, 0], GREY)
    assert notes == [f"{np.dtype(dtype)} from 0 to 255 is taken as 0..255"]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
def test_zeros_and_ones_are_black_and_white(dtype):
    bits = (GREY > 127).astype(dtype)
    image, notes = read(bits)
    np.testing.assert_array_equal(image[:, 0], (GREY > 127) * 255)
    assert len(notes) == 1


def test_dark_images_of_bytes_stay_dark():
    np.testing.assert_array_equal(read(GREY // 64)[0][:, 0], GREY // 64)
    np.testing.assert_array_equal(read(np.zeros_like(GREY))[0], 0)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (GREY / 127.5 - 1, "x is float64 from -1 to 1: it needs values in 0..1 or 0..255, as (images + 1) / 2 has"),
        (GREY / 255 * 16, "x is float64 from 0 to 16: it needs values in 0..1 or 0..255, as (images - 0) / 16 has"),
        (GREY.astype(int) * 16, "x is int64 from 0 to 4080: it needs values in 0..1 or 0..255"),
        (GREY.astype(int) - 128, "x is int64 from -128 to 127"),
        (np.where(GREY > 250, np.nan, GREY), "x holds values that are not finite"),
        (np.where(GREY > 250, np.inf, GREY), "x holds values that are not finite"),
        (GREY / 255 * 1.5, "x is float64 from 0 to 1.5"),
    ],
)
def test_other_ranges_are_refused_with_what_to_do(array, words):
    assert words in refused(array)


@pytest.mark.parametrize("shape", [(6, 8, 9, 2), (6, 10), (6,), (), (2, 3, 4, 5, 6), (64, 64, 3)])
def test_other_shapes_are_refused(shape):
    assert "it needs [N, H, W, C]" in refused(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([2, 0, 1]),
        np.array([[2], [0], [1]], np.uint8),
        np.array([2.0, 0.0, 1.0]),
        np.eye(3)[[2, 0, 1]],
        np.array(["c", "a", "b"]),
        np.array([b"c", b"a", b"b"]),
    ],
)
def test_labels_of_every_form(labels):
    (found, none), notes = as_labels(labels, None)
    assert found.tolist() == [2, 0, 1] and found.dtype == np.int64 and none is None and notes == []


def test_words_are_numbered_alike_in_all_parts():
    found, _ = as_labels(np.array(["cat", "ant"]), np.array(["dog", "cat"]))
    assert [one.tolist() for one in found] == [[1, 0], [2, 1]]


@pytest.mark.parametrize("labels", [np.array([0.5, 1.0]), np.ones((2, 14)), np.array(3), np.array([np.nan, 1])])
def test_what_is_no_class_is_left_out_and_that_is_said(labels):
    found, notes = as_labels(labels)
    assert found == [None] and "left out" in notes[0]
