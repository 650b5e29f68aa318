"""A folder of images: what is read, what is refused, and how much memory that takes."""

import shutil
import tracemalloc
import warnings

import numpy as np
import pytest
from image_files import check, error, save_images
from PIL import Image

from rlgen.data.load import load


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
    assert "000.png has more than 800 pixels: make it smaller" in error(tmp_path)


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
