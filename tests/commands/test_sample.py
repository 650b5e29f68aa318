"""`rlgen sample` of models with labels and with an average; that of other runs is in `test_commands.py`."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny

from generative.gan import GAN
from generative.vae import VAE
from rlgen import experiment, inference
from rlgen.data.load import load
from rlgen.errors import UsageError
from rlgen.features.find import net_for
from rlgen.pictures import to_uint8


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
    assert every["labels"].tolist() == [i * 10 // 25 for i in range(25)], "two or three of each"
    assert np.array_equal(every["images"], inference.sample("ten", 25))

    assert rlgen("sample", "ten", "--num", "30", "--out", "rows.png")[0] == 0
    width, height = Image.open("rows.png").size
    assert (width - 2) / 3 == (height - 2) / 10, "three of each of the ten classes in a row"


@pytest.mark.parametrize(("num", "columns", "rows"), [(11, 2, 10), (25, 3, 10), (10, 4, 3), (5, 3, 2)])
def test_no_class_is_missing_however_many_images_are_asked_for(drawn, rlgen, num, columns, rows):
    """Of 11 images of ten classes two were of each of the first five, and one of the sixth."""
    labels = drawn("ten", "--num", str(num))[2]["labels"]
    counts = np.bincount(labels, minlength=10)
    assert counts.max() - counts.min() <= 1 and (np.diff(labels) >= 0).all()
    assert rlgen("sample", "ten", "--num", str(num), "--out", "rows.png")[0] == 0
    pixels = np.asarray(Image.open("rows.png"))
    assert pixels.shape == (rows * 58 + 2, columns * 58 + 2)
    tiles = [pixels[2 + r * 58 : 58 + r * 58, 2 + c * 58 : 58 + c * 58] for r in range(rows) for c in range(columns)]
    images = inference.sample("ten", num)[..., 0].repeat(7, 1).repeat(7, 2)
    places = [columns * label + i for label in range(10) for i in range(counts[label])] if num > 10 else [*range(num)]
    for i in range(rows * columns):
        assert np.array_equal(tiles[i], images[places.index(i)]) if i in places else (tiles[i] == 255).all()


def test_the_weights_that_train_draw_other_images_than_their_average(drawn):
    average, raw = drawn("plain", "--num", "4")[2], drawn("plain", "--num", "4", "--no-ema")[2]
    assert average.keys() == raw.keys() == {"images"}
    assert not np.array_equal(average["images"], raw["images"])


def test_classes_are_of_the_same_latents(drawn):
    found = drawn("ten", "--show", "classes", "--num", "35")[2]
    assert found["labels"].tolist() == [i // 3 for i in range(30)], "whole rows"
    for label in range(10):
        alone = inference.sample("ten", 3, label=label)
        assert np.array_equal(found["images"][3 * label : 3 * label + 3], alone), label


@pytest.mark.parametrize("name", ["plain", "vae"])
def test_an_interpolation_has_a_sample_at_each_end_and_the_arc_between(drawn, name):
    found = drawn(name, "--show", "interpolation", "--num", "20")[2]["images"]
    samples = inference.sample(name, 4)
    assert np.array_equal(found[[0, 8, 7, 15]], samples) and len(found) == 16
    learner = inference.load(name)
    one, other = learner.latents(4, 0)[[0, 2]].double()
    angle = torch.acos(one @ other / one.norm() / other.norm())
    shares = torch.arange(8, dtype=torch.float64)[:, None] / 7
    arc = (torch.sin((1 - shares) * angle) * one + torch.sin(shares * angle) * other) / torch.sin(angle)
    assert abs(found[:8].astype(int) - to_uint8(learner.decode(arc.float()))).max() <= 1
    assert not np.array_equal(found[3], found[4])


def test_each_path_of_a_conditional_model_has_one_class(drawn, rlgen):
    assert drawn("ten", "--show", "interpolation", "--num", "24")[2]["labels"].tolist() == [0] * 8 + [3] * 8 + [6] * 8
    assert set(drawn("ten", "--show", "interpolation", "--label", "4")[2]["labels"]) == {4}
    assert rlgen("sample", "ten", "--show", "interpolation", "--out", "rows.png")[0] == 0
    width, height = Image.open("rows.png").size
    assert (width - 2) / 8 == (height - 2) / 8


def test_neighbours_are_those_that_a_search_of_all_training_images_finds(drawn, rlgen):
    found = drawn("plain", "--show", "neighbours", "--num", "7")[2]
    assert np.array_equal(found["images"], inference.sample("plain", 7))
    data = load("digits")
    net = net_for(data)
    features = net(torch.from_numpy(data.train))[0].numpy()
    own = net(torch.from_numpy(found["images"].transpose(0, 3, 1, 2)))[0].numpy()
    for i in range(7):
        distances = np.sqrt(((features - own[i]) ** 2).sum(1))
        nearest = distances.argsort()[:5]
        np.testing.assert_allclose(found["distances"][i], distances[nearest], rtol=1e-6)
        assert np.array_equal(found["neighbours"][i], data.train[nearest].transpose(0, 2, 3, 1))

    code, out, _ = rlgen("sample", "plain", "--show", "neighbours", "--num", "7", "--out", "near.png")
    assert (code, out) == (0, f"7 images, each beside the 5 nearest training images by {net.label}, in near.png\n")
    pixels = np.asarray(Image.open("near.png"))  # tiles of 8 pixels, seven times as large, with 2 around
    for i, place in ((0, 2), (1, 60 + 4 + 2), (5, 60 + 4 + 4 * 58 + 2)):
        tile = found["images"][3] if i == 0 else found["neighbours"][3, i - 1]
        assert np.array_equal(pixels[2 + 3 * 58 : 58 + 3 * 58 : 7, place : place + 56 : 7], tile[..., 0])


def test_truncated_latents_draw_what_is_nearer_to_the_image_of_the_origin(drawn):
    learner = inference.load("vae")
    middle = to_uint8(learner.decode(torch.zeros(1, learner.latent_size))).astype(float)
    away = []
    for words in ((), ("--truncation", "1"), ("--truncation", "0.1")):
        images = drawn("vae", "--num", "50", *words)[2]["images"]
        away.append(abs(images - middle).mean())
    assert away[0] > 1.2 * away[1] > 5 * away[2]
    assert np.array_equal(drawn("vae", "--num", "50", "--truncation", "50")[2]["images"], inference.sample("vae", 50))


@pytest.mark.parametrize("show", ["samples", "interpolation", "classes"])
def test_no_number_of_a_latent_is_beyond_the_truncation(drawn, monkeypatch, show):
    """Between two latents within the limit an arc leaves it."""
    seen, decode = [], GAN.decode
    monkeypatch.setattr(
        GAN, "decode", lambda self, latent, *args, **kw: seen.append(latent) or decode(self, latent, *args, **kw)
    )
    cut = drawn("ten", "--show", show, "--num", "80", "--truncation", "0.5")[2]["images"]
    latent = torch.cat(seen)
    assert len(latent) == 80 and 0.45 < latent.abs().max() <= 0.5
    if show == "interpolation":
        ends = drawn("plain", "--num", "4", "--truncation", "0.5")[2]["images"]
        cut = drawn("plain", "--show", show, "--num", "16", "--truncation", "0.5")[2]["images"]
        assert np.array_equal(cut[[0, 8, 7, 15]], ends)


def test_many_images_are_drawn_some_at_a_time_and_are_the_same(drawn, rlgen, monkeypatch):
    """All feature maps of a million images were in memory at once."""
    sizes, decode = [], VAE.decode
    monkeypatch.setattr(VAE, "decode", lambda self, latent: sizes.append(len(latent)) or decode(self, latent))
    found = drawn("vae", "--num", "1234")[2]["images"]
    assert sizes == [500, 500, 234]
    whole = to_uint8(inference.load("vae").sample(1234, seed=0))
    assert found.shape == whole.shape and abs(found.astype(int) - whole).max() <= 1
    monkeypatch.setattr("rlgen.memory.at_hand", lambda: 100_000)
    why = "error: --num 1234 needs 154.2 KiB of memory, more than is left of the 97.7 KiB at hand: free memory or"
    code, err, _ = drawn("vae", "--num", "1234")
    assert code == 2 and err.startswith(why)
    why = "--num 10001: a picture has 10,000 images at most; ask for fewer, or for an .npz"
    assert rlgen("sample", "vae", "--num", "10001")[::2] == (2, f"error: {why}\n")


def test_a_directory_is_no_file_to_write(rlgen, models):
    shutil.copytree(models, "runs")
    for name, words in (("a.png", ("sample", "vae")), ("a.npz", ("sample", "vae")), ("a.md", ("compare", "vae"))):
        Path(name).mkdir()
        why = f"error: --out {name} is a directory: give the name of a file\n"
        assert rlgen(*words, "--out", name)[::2] == (2, why)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"show": "all"}, "--show 'all': must be one of samples, interpolation, neighbours, classes"),
        ({"truncation": 0.0}, "--truncation 0.0: must be in (0, inf)"),
        ({"truncation": -1}, "--truncation -1: must be in (0, inf)"),
        ({"truncation": math.nan}, "--truncation nan: must be in (0, inf)"),
        ({"num": 0}, "--num 0: must be at least 1"),
        ({"num": -3}, "--num -3: must be at least 1"),
    ],
)
def test_a_notebook_is_told_what_the_command_line_is(models, options, why):
    with pytest.raises(UsageError) as error:
        inference.draw("vae", **({"num": 4} | options), runs_dir=str(models))
    assert str(error.value) == why


def test_images_that_are_gone_or_others_have_no_neighbours(rlgen):
    draw = np.random.default_rng(0)
    for seed in range(2):
        np.savez("mine.npz", images=draw.integers(0, 255, (200, 8, 8, 1), np.uint8))
        if seed == 0:
            experiment.start(tiny("vae", Path("runs"), name="mine", data="mine.npz", steps=64), quiet=True)
    words = ("sample", "mine", "--show", "neighbours")
    why = "--show neighbours: mine learned from other images than its data are now; leave it out, or put those back"
    assert rlgen(*words)[::2] == (2, f"error: {why}\n")
    Path("mine.npz").unlink()
    code, _, err = rlgen(*words)
    assert code == 2 and err.startswith("error: --show neighbours: data 'mine.npz' is neither") and err.count("\n") == 1
    assert err.endswith("; put back what mine learned from, or go to the directory where it was trained\n")
    assert rlgen("sample", "mine")[0] == 0


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("plain", ("--label", "3"), "--label 3: plain learned without labels; leave it out"),
        ("vae", ("--label", "3"), "--label 3: vae learned without labels; leave it out"),
        ("vae", ("--no-ema",), "--no-ema: vae has no average of its weights; leave it out"),
        ("ten", ("--label", "10"), "label 10: must be in [0, 9], one that the model learned with"),
        ("plain", ("--show", "classes"), "--show classes: plain learned without labels; leave it out"),
        (
            "ten",
            ("--show", "classes", "--label", "3"),
            "--label 3: --show classes shows all of them; leave one of the two out",
        ),
        (
            "ten",
            ("--show", "classes", "--num", "9"),
            "--num 9: must be at least 10 for --show classes, which has whole rows",
        ),
        (
            "vae",
            ("--show", "interpolation", "--num", "7"),
            "--num 7: must be at least 8 for --show interpolation, which has whole rows",
        ),
        ("vae", ("--truncation", "0"), "--truncation 0.0: must be in (0, inf)"),
        ("ten", ("--label", "-1"), "--label -1: must be in [0, inf)"),
    ],
)
def test_what_a_model_cannot_draw_is_refused_in_a_line(drawn, name, words, why):
    assert drawn(name, *words) == (2, f"error: {why}\n", {})


def test_images_without_labels_are_no_ground_for_a_conditional_model(rlgen):
    np.savez("images.npz", images=np.zeros((20, 8, 8, 1), np.uint8))
    code, _, err = rlgen("train", "gan", "--data", "images.npz", "--conditional", "--steps", "64")
    assert (code, err.splitlines()[-1]) == (2, "error: --conditional: the training images have no labels; leave it out")
    assert not Path("runs").exists() or not any(Path("runs").iterdir())
