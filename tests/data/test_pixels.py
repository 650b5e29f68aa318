"""One image: upright, opaque, of its mode and size; and the images of an array."""

import numpy as np
import pytest
from image_files import check, idx_files, write
from PIL import Image

from rlgen.data.load import load
from rlgen.data.pixels import fitted
from rlgen.data.preparation import Preparation


def ramp(width, height):
    """Grey values that grow from left to right."""
    return Image.fromarray(np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1)))


@pytest.mark.parametrize("size", [(40, 40), (48, 64), (90, 33), (16, 16), (7, 9)])
def test_an_image_is_resized_to_its_shorter_side_and_its_middle_is_kept(size):
    image = fitted(ramp(*size), 16)
    assert image.size == (16, 16)
    pixels = np.asarray(image).astype(int)
    assert abs(pixels.mean() - 127) < 6, "the middle"
    width = 255 * min(size) / size[0]  # the part of the ramp that a square of the shorter side shows
    assert abs((pixels[:, -1] - pixels[:, 0]).mean() - width * 15 / 16) < 17


def test_what_is_shrunk_is_averaged():
    board = np.indices((64, 64)).sum(0) % 2 * 255
    assert np.abs(np.asarray(fitted(Image.fromarray(board.astype(np.uint8)), 16)).astype(int) - 127).max() < 20


def test_resizing_is_that_of_torchvision():
    """Its `Resize(8)` and `CenterCrop(8)` of a 20x13 image: 12x8 by int(8 * 20 / 13), then columns 2 to 9."""
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (13, 20, 3), np.uint8))
    expected = np.asarray(image.resize((12, 8), Image.Resampling.BILINEAR))[:, 2:10]
    np.testing.assert_array_equal(np.asarray(fitted(image, 8)), expected)


@pytest.mark.parametrize(
    ("channels", "mode", "expected"), [(1, "rgb", 3), (3, "grey", 1), (4, "rgb", 3), (4, "auto", 4)]
)
def test_arrays_have_the_size_and_the_mode_that_are_asked_for(tmp_path, channels, mode, expected):
    images = np.random.RandomState(0).randint(0, 256, (20, 12, 9, channels), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(20) % 2)
    data = check(load(str(tmp_path / "x.npz"), preparation=Preparation(image_size=6, image_mode=mode)))
    assert data.train.shape[1:] == data.test.shape[1:] == (expected, 6, 6) and data.num_classes == 2
    assert f"made of 9x12 images with {channels} channels" in data.about()
    whole = check(load(str(tmp_path / "x.npz"), preparation=Preparation(image_mode=mode)))
    assert whole.train.shape[1:] == (expected, 12, 9)
    if (channels, mode) == (1, "rgb"):
        assert (whole.train[:, 0] == whole.train[:, 2]).all()
        np.testing.assert_array_equal(whole.train[:, :1], load(str(tmp_path / "x.npz")).train)


def test_known_sets_and_idx_files_have_a_size_too(tmp_path):
    assert load("digits", preparation=Preparation(image_size=16)).test.shape == (359, 1, 16, 16)
    write(tmp_path, idx_files())
    assert load(str(tmp_path), preparation=Preparation(image_size=4)).train.shape == (12, 1, 4, 4)
    assert load("mnist", str(tmp_path), preparation=Preparation(image_size=5)).train.shape == (12, 1, 5, 5)
