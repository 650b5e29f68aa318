"""Images that a Python caller passes."""

import numpy as np
import pytest
import torch
from image_files import check, error

from rlgen.data import given
from rlgen.data.given import hold
from rlgen.data.load import load
from rlgen.data.preparation import Preparation
from rlgen.errors import UsageError

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 6, 5, 3), np.uint8)


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    monkeypatch.setattr(given, "HELD", {})


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES.astype(np.float32) / 255,
        torch.from_numpy(IMAGES).permute(0, 3, 1, 2),
        list(IMAGES),
        (IMAGES, np.arange(20) % 2),
        (torch.from_numpy(IMAGES), torch.arange(20) % 2),
        {"x_train": IMAGES, "y_train": np.arange(20) % 2, "x_test": IMAGES[:3]},
    ],
)
def test_images_of_every_form_are_held_and_stay_as_they_are(images):
    name = hold(images)
    before = [np.array(array) for array in given.HELD[name].values()]
    data = check(load(name))
    assert data.name == name and data.train.shape[1:] == (3, 6, 5)
    assert len(data.train) == (20 if isinstance(images, dict) else 18)
    assert data.num_classes == (2 if isinstance(images, (tuple, dict)) else None)
    assert {image.tobytes() for image in data.train} <= {image.transpose(2, 0, 1).tobytes() for image in IMAGES}
    for array, copy in zip(given.HELD[name].values(), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert load(name).digest() == data.digest()
    assert load(name, preparation=Preparation(image_size=4, holdout=0.5)).train.shape[1:] == (3, 4, 4)


def test_the_name_is_of_the_content():
    assert hold(IMAGES) == hold(IMAGES.copy()) != hold(IMAGES[::-1])
    assert hold(IMAGES) != hold((IMAGES, np.arange(20))) and given.NAME.fullmatch(hold(IMAGES))


def test_a_process_that_does_not_have_them_says_so():
    message = error("array-0123456789ab")
    assert "was passed from Python" in message and "rlgen.resume(run, data=images)" in message


@pytest.mark.parametrize("images", [3, object(), None, [IMAGES, IMAGES[:, :3]], (IMAGES,), {"images": "x"}])
def test_what_is_no_array_is_one_line(images):
    with pytest.raises(UsageError, match="data"):
        hold(images)


def test_a_wrong_shape_is_named():
    assert "images has shape [20, 6, 5, 2]" in error(hold(IMAGES[..., :2]))
