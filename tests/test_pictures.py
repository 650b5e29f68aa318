import numpy as np
import pytest
from full_disk import largest_file
from PIL import Image

from rlgen.errors import DiskError, UsageError
from rlgen.pictures import beside, grid, save_png, to_uint8


def test_to_uint8_rounds_clips_and_moves_channels_last():
    images = np.array([0.0, 1.0, 0.5, 2.0, -1.0, np.nan], np.float32).reshape(1, 3, 1, 2)
    out = to_uint8(images)
    assert out.dtype == np.uint8 and out.shape == (1, 1, 2, 3) and out.flags.c_contiguous
    np.testing.assert_array_equal(out[0, 0], [[0, 128, 0], [255, 255, 0]])


def test_to_uint8_keeps_bytes_and_takes_tensors():
    import torch

    images = np.random.RandomState(0).randint(0, 256, (5, 3, 4, 6), np.uint8)
    np.testing.assert_array_equal(to_uint8(images), images.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(to_uint8(torch.from_numpy(images)), images.transpose(0, 2, 3, 1))
    unit = torch.from_numpy(images).float().div(255).requires_grad_()
    np.testing.assert_array_equal(to_uint8(unit), images.transpose(0, 2, 3, 1))  # a round trip loses nothing


def test_grid_places_every_image_in_order_on_white():
    images = np.arange(10, 15, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((1, 1, 28, 28), np.uint8)
    picture = grid(images, columns=3, padding=2)
    assert picture.mode == "L" and picture.size == (3 * 58 + 2, 2 * 58 + 2)  # 28 pixels are doubled
    pixels = np.asarray(picture)
    for i in range(5):
        top, left = i // 3 * 58 + 2, i % 3 * 58 + 2
        assert (pixels[top : top + 56, left : left + 56] == 10 + i).all()
    assert (pixels[60:, 2 * 58 + 2 :] == 255).all()  # the empty place
    assert (pixels[:2] == 255).all() and (pixels[:, 58:60] == 255).all()


@pytest.mark.parametrize(
    ("shape", "size", "mode"),
    [
        ((64, 1, 8, 8), (8 * 58 + 2, 8 * 58 + 2), "L"),
        ((7, 3, 32, 32), (3 * 66 + 2, 3 * 66 + 2), "RGB"),
        ((2, 4, 210, 160), (2 * 162 + 2, 212 + 2), "RGBA"),
        ((1, 3, 64, 64), (68, 68), "RGB"),
    ],
)
def test_grid_is_about_square_and_enlarges_only_small_images(shape, size, mode):
    picture = grid(np.zeros(shape, np.float32))
    assert picture.size == size and picture.mode == mode


def test_grid_of_nothing_is_one_line():
    with pytest.raises(UsageError, match="at least one image"):
        grid(np.zeros((0, 1, 8, 8)))


def test_pictures_are_written_whole_or_not_at_all(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    with largest_file(1000), pytest.raises(DiskError, match=r"cannot write .*x\.png: "):
        save_png(Image.fromarray(noise), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_pictures_stand_beside_each_other_on_white():
    small, tall = (Image.fromarray(np.full((rows, 3), rows, np.uint8)) for rows in (2, 5))
    pixels = np.asarray(beside([small, tall, small], gap=4))
    assert pixels.shape == (5, 3 + 4 + 3 + 4 + 3)
    assert (pixels[:2, :3] == 2).all() and (pixels[:, 7:10] == 5).all() and (pixels[:2, 14:] == 2).all()
    assert (pixels[2:, :3] == 255).all() and (pixels[:, 3:7] == 255).all() and (pixels[:, 10:14] == 255).all()
