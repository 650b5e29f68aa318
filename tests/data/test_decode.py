"""Image files: what is made of them, which are refused, and how much memory that takes."""

import os
import tracemalloc
import warnings

import numpy as np
import pytest
from image_files import check, error, save_images
from PIL import Image

from rlgen.data import decode
from rlgen.data.load import load
from rlgen.data.preparation import Preparation


def test_photographs_are_turned_as_their_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    for i in range(4):
        Image.new("RGB", (8, 4)).save(tmp_path / f"{i}.jpg", exif=exif)
    assert load(str(tmp_path)).train.shape[1:] == (3, 8, 4)


def photos(folder):
    """Images of three sizes, one of them turned by its camera."""
    folder.mkdir(exist_ok=True)
    for i, size in enumerate([(40, 40), (48, 64), (90, 33)] * 4):
        Image.fromarray(np.random.RandomState(i).randint(0, 256, (*size[::-1], 3), np.uint8)).save(folder / f"{i}.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8)[:, None], (1, 32))  # dark at the top
    Image.fromarray(ramp).convert("RGB").save(folder / "turned.jpg", exif=exif)


def pixels_of(data):
    return np.concatenate([data.train, data.test])


def test_images_of_several_sizes_are_refused_with_the_option_that_makes_them_one(tmp_path):
    photos(tmp_path)
    assert error(tmp_path) == (
        f"{tmp_path} has images of 4 sizes (4 of 40x40, 4 of 48x64, 4 of 90x33, ..): "
        "--image-size 32 resizes and crops them all"
    )


def test_images_of_several_sizes_are_resized_and_cropped(tmp_path):
    photos(tmp_path)
    data = check(load(str(tmp_path), preparation=Preparation(image_size=32)))
    assert pixels_of(data).shape == (13, 3, 32, 32)
    assert "images of 4 sizes are resized and cropped; 1 turned as the camera says" in data.about()
    bright_at_the_top = [image for image in pixels_of(data) if image[:, 0].mean() > 230 and image[:, -1].mean() < 25]
    assert len(bright_at_the_top) == 1
    upright = {image.tobytes() for image in pixels_of(data)}
    with Image.open(tmp_path / "0.png") as first:
        resized = first.resize((32, 32), Image.Resampling.BILINEAR)
    assert np.asarray(resized).transpose(2, 0, 1).tobytes() in upright


def test_memory_for_images_that_are_resized_is_that_of_the_small_ones_and_one_large_one(tmp_path):
    for i in range(3):
        Image.new("L", (3000, 2000)).save(tmp_path / f"{i}.png")
    assert load(str(tmp_path), max_memory="50MB", preparation=Preparation(image_size=8)).train.shape[1:] == (1, 8, 8)
    assert "needs" in error(tmp_path, max_memory="40MB", preparation=Preparation(image_size=8))
    assert "needs" in error(tmp_path, max_memory="50MB", preparation=Preparation(image_size=4096))


@pytest.mark.parametrize("shape", [(30_000, 1), (1, 30_000)])
def test_memory_for_an_image_that_is_long_and_thin_is_that_of_the_resized_one(tmp_path, shape):
    """It is resized before its middle is taken: 60 kB become half a gigabyte."""
    Image.new("L", shape).save(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    found = error(tmp_path, max_memory="300MB", preparation=Preparation(image_size=64))
    assert f"an image of {shape[0]}x{shape[1]} needs " in found
    assert load(str(tmp_path), max_memory="50MB", preparation=Preparation(image_size=8)).train.shape[1:] == (1, 8, 8)
    np.save(tmp_path / "images.npy", np.zeros((20, *shape, 1), np.uint8))
    found = error(tmp_path / "images.npy", max_memory="300MB", preparation=Preparation(image_size=64))
    assert f"an image of {shape[1]}x{shape[0]} needs " in found


@pytest.mark.parametrize(("mode", "channels"), [("auto", 1), ("grey", 1), ("rgb", 3)])
def test_the_mode_may_be_chosen(tmp_path, mode, channels):
    save_images(tmp_path, 5, mode="L")
    grey = load(str(tmp_path), preparation=Preparation(image_mode=mode))
    assert grey.train.shape[1] == channels
    save_images(tmp_path, 2, mode="RGB")
    mixed = load(str(tmp_path), preparation=Preparation(image_mode=mode))
    assert mixed.train.shape[1] == (3 if mode == "auto" else channels)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize(("ground", "value"), [("white", 255), ("black", 0)])
def test_transparent_pixels_show_the_ground_that_is_said(tmp_path, mode, ground, value):
    for i in range(4):
        pixels = np.full((4, 4, 4), 100, np.uint8)
        pixels[:2, :, 3], pixels[2:, :, 3] = 0, 255
        image, more = Image.fromarray(pixels), {}
        if mode == "P":
            image = image.quantize(4)
        elif mode == "RGB":  # one colour of an opaque image may stand for transparent
            pixels[:2, :, :3] = 7
            image, more = Image.fromarray(pixels[..., :3].copy()), {"transparency": (7, 7, 7)}
        else:
            image = image.convert(mode)
        image.save(tmp_path / f"{i}.png", **more)
    data = load(str(tmp_path), preparation=Preparation(image_ground=ground))
    assert (pixels_of(data)[:, :, :2] == value).all() and (abs(pixels_of(data)[:, :, 2:].astype(int) - 100) < 2).all()
    assert f"4 with transparent pixels shown on {ground}" in data.about()
    assert data.train.shape[1] == (1 if mode == "LA" else 3)


@pytest.mark.parametrize("mode", ["P", "CMYK", "1", "L", "RGB"])
def test_every_mode_of_pillow_is_read_as_it_looks(tmp_path, mode):
    end = "jpg" if mode == "CMYK" else "png"
    for i in range(4):
        Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(tmp_path / f"{i}.{end}")
    assert pixels_of(load(str(tmp_path))).min() >= 250


def test_of_several_frames_the_first_is_read_and_that_is_said(tmp_path):
    frames = [Image.new("L", (6, 5), value) for value in (10, 200)]
    for i in range(3):
        frames[0].save(tmp_path / f"{i}.gif", save_all=True, append_images=frames[1:])
    data = load(str(tmp_path))
    assert (pixels_of(data) == 10).all() and "3 of several frames, of which the first is read" in data.about()


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
        f"{tmp_path} has 3 files that are no readable image (001.png, empty.png, text.jpg): replace or remove them; "
        "2 files that are of more than 8 bits a channel (deep.png, deep.tif): convert them to 8 bits; "
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


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_alpha_channel_that_hides_nothing_is_not_counted(tmp_path, mode):
    for i in range(4):
        pixels = np.full((4, 4, 4), 100, np.uint8)
        pixels[..., 3] = 128 if i == 0 else 255
        image = Image.fromarray(pixels)
        image = image.quantize(4) if mode == "P" else image.convert(mode)
        image.save(tmp_path / f"{i}.png")
    data = load(str(tmp_path))
    assert "1 with transparent pixels shown on white" in data.about()
    assert sorted(pixels_of(data).max((1, 2, 3)))[:3] == [100, 100, 100]
    (tmp_path / "0.png").unlink()
    assert "transparent" not in load(str(tmp_path)).about()
