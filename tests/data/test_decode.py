"""Image files: what is made of them, which are refused, and how much memory that takes."""

import os
import tracemalloc
import warnings

import numpy as np
import pytest
from image_files import error, save_images
from PIL import Image

from rlgen.data import decode
from rlgen.data.load import load


def test_photographs_are_turned_as_their_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    for i in range(4):
        Image.new("RGB", (8, 4)).save(tmp_path / f"{i}.jpg", exif=exif)
    assert load(str(tmp_path)).train.shape[1:] == (3, 8, 4)


def spoil(folder):
    """Every kind of bad file, in a folder of good ones."""
    save_images(folder, 6)
    (folder / "text.jpg").write_text("no image")
    content = (folder / "001.png").read_bytes()
    (folder / "001.png").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").write_bytes(b"")
    Image.fromarray(np.full((5, 6), 9999, np.uint16)).save(folder / "deep.png")
    Image.fromarray(np.zeros((5, 6), np.float32)).save(folder / "deep.tif")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.png")


def test_all_bad_files_are_named_at_once(tmp_path):
    spoil(tmp_path)
    assert error(tmp_path) == (
        f"{tmp_path} has 2 files that are of more than 8 bits a channel (deep.png, deep.tif): convert them to 8 bits; "
        "2 files that are no readable image (empty.png, text.jpg): replace or remove them; "
        "2 files that are no file but a link to nothing or a device (gone.png, pipe.png): remove them"
    )
    for name in ("deep.png", "deep.tif", "empty.png", "text.jpg", "gone.png", "pipe.png"):
        (tmp_path / name).unlink()
    assert "has a file that is no readable image (001.png): replace or remove it" in error(tmp_path)


def test_files_that_are_cut_off_are_named_at_once_too_and_very_many_are_counted(tmp_path, monkeypatch):
    save_images(tmp_path, 9)
    for i in (2, 4, 6, 8):
        path = tmp_path / f"00{i}.png"
        path.write_bytes(path.read_bytes()[:-40])
    assert "4 files that are no readable image (002.png, 004.png, 006.png, 008.png)" in error(tmp_path)
    monkeypatch.setattr(decode, "NAMED", 2)
    assert "4 files that are no readable image (002.png, 004.png and 2 more)" in error(tmp_path)


def test_more_images_than_fit_in_memory_are_refused_by_their_headers(tmp_path, monkeypatch):
    for i in range(4):
        Image.new("L", (3000, 3000)).save(tmp_path / f"{i}.png")
    monkeypatch.setattr(Image.Image, "convert", pytest.fail)
    message = error(tmp_path, max_memory="10MB")
    assert message == (
        f"{tmp_path}: 4 images of 3000x3000 needs 103.0 MiB of memory, more than is left of --max-memory 10MB: "
        "raise that or give less of it"
    )


def test_images_that_pillow_warns_of_are_no_warning_and_what_it_takes_for_an_attack_is_one_line(tmp_path, monkeypatch):
    save_images(tmp_path, 4, size=(30, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(str(tmp_path)).train.shape[1:] == (3, 30, 30)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert "4 files that are of more than 800 pixels (000.png, 001.png, 002.png, 003.png): make them smaller" in error(
        tmp_path
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "1"])
def test_a_folder_takes_the_memory_of_its_array_and_keeps_every_pixel(tmp_path, mode):
    save_images(tmp_path, 40, size=(400, 300), mode=mode)
    load(str(tmp_path))  # imports
    tracemalloc.start()
    data = load(str(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * (data.train.nbytes + data.test.nbytes) + 3e6, "grey ones are not made colour first"
    with Image.open(tmp_path / "000.png") as first:
        expected = np.asarray(first.convert("RGB")).transpose(2, 0, 1)[: data.train.shape[1]]
    assert data.train.shape[1] == (3 if mode == "RGB" else 1)
    assert any((image == expected).all() for image in (*data.train, *data.test))
