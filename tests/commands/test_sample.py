"""`rlgen sample` of models with labels and with an average; that of other runs is in `test_commands.py`."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny

from rlgen import experiment, inference


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A GAN of ten classes, one without labels, and a VAE."""
    folder = tmp_path_factory.mktemp("models")
    for name, algo, options in (("ten", "gan", {"conditional": True}), ("plain", "gan", {}), ("vae", "vae", {})):
        experiment.start(tiny(algo, folder, name=name, steps=160, eval_every=160, **options), quiet=True)
    return folder


@pytest.fixture
def drawn(rlgen, models):
    """Draw from a model in the working directory: exit code, stderr, and what is in the file."""
    shutil.copytree(models, "runs", dirs_exist_ok=True)

    def draw(name: str, *words: str):
        code, _, err = rlgen("sample", name, "--out", "images.npz", *words)
        return code, err, dict(np.load("images.npz")) if code == 0 else {}

    return draw


def test_a_class_is_asked_for_or_all_come_one_after_the_other(drawn, rlgen):
    code, err, threes = drawn("ten", "--label", "3", "--num", "5")
    assert (code, err) == (0, "") and threes["labels"].tolist() == [3] * 5 and threes["images"].shape == (5, 8, 8, 1)
    assert np.array_equal(threes["images"], inference.sample("ten", 5, label=3))
    other = drawn("ten", "--label", "4", "--num", "5")[2]
    assert not np.array_equal(threes["images"], other["images"]), "of the same latents"
    every = drawn("ten", "--num", "25")[2]
    assert every["labels"].tolist() == [i // 3 for i in range(25)]
    assert np.array_equal(every["images"], inference.sample("ten", 25))

    assert rlgen("sample", "ten", "--num", "30", "--out", "rows.png")[0] == 0
    width, height = Image.open("rows.png").size
    assert (width - 2) / 3 == (height - 2) / 10, "three of each of the ten classes in a row"


def test_the_weights_that_train_draw_other_images_than_their_average(drawn):
    average, raw = drawn("plain", "--num", "4")[2], drawn("plain", "--num", "4", "--no-ema")[2]
    assert average.keys() == raw.keys() == {"images"}
    assert not np.array_equal(average["images"], raw["images"])


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("plain", ("--label", "3"), "--label 3: plain learned without labels; leave it out"),
        ("vae", ("--label", "3"), "--label 3: vae learned without labels; leave it out"),
        ("vae", ("--no-ema",), "--no-ema: vae has no average of its weights; leave it out"),
        ("ten", ("--label", "10"), "label 10: must be in [0, 9], one that the model learned with"),
        ("ten", ("--label", "-1"), "--label -1: must be in [0, inf)"),
    ],
)
def test_what_a_model_cannot_draw_is_refused_in_a_line(drawn, name, words, why):
    assert drawn(name, *words) == (2, f"error: {why}\n", {})


def test_images_without_labels_are_no_ground_for_a_conditional_model(rlgen):
    np.savez("images.npz", images=np.zeros((20, 8, 8, 1), np.uint8))
    code, _, err = rlgen("train", "gan", "--data", "images.npz", "--conditional", "--steps", "64")
    assert (code, err.splitlines()[-1]) == (2, "error: --conditional: these images have no labels; leave it out")
    assert not Path("runs").exists() or not any(Path("runs").iterdir())
