"""`rlgen metrics`: two sets of images, whatever they come from."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import save_images
from tiny import tiny

from rlgen import experiment
from rlgen.commands import main
from rlgen.compare import image_sets
from rlgen.core.learner import Generative
from rlgen.data.load import load as load_images
from rlgen.data.preparation import Preparation


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["metrics", *words, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def save(name: str, **arrays: np.ndarray) -> str:
    np.savez(name, **{key: value.transpose(0, 2, 3, 1) for key, value in arrays.items()})
    return name


def test_images_in_a_file_against_a_known_set(capsys: pytest.CaptureFixture[str]) -> None:
    digits = load_images("digits")
    good = found(capsys, save("good.npz", images=digits.train[:400]), "digits")
    assert good["images"] == 359 and good["features"].startswith("lenet-") and len(good["sha256"]) == 64
    assert good["scores"]["fd"] < 2 * good["floor"]["fd"] and 0 < good["scores"]["copied"] <= 1
    bad = found(capsys, save("bad.npz", images=255 - digits.train[:400]), "digits", "--num", "200")
    assert bad["images"] == 200 and bad["scores"]["fd"] > 10 * good["scores"]["fd"]
    other = found(capsys, "bad.npz", "digits", "--features", "random")
    assert other["features"].startswith("random-") and "modes" not in other["scores"]
    assert main(["metrics", "good.npz", "digits"]) == 0
    printed = capsys.readouterr().out
    assert "scores" in printed and "floor" in printed and "precision" in printed


def test_two_folders_without_a_split_or_labels(capsys: pytest.CaptureFixture[str]) -> None:
    for folder, num, seed in (("one", 40, 0), ("other", 100, 1)):
        save_images(Path(folder), num, size=(8, 8), seed=seed)
    result = found(capsys, "one", "other")
    assert result["images"] == 40 and result["features"].startswith("random-")
    assert "fd" not in result["scores"], "of 40 images only distances that need no covariance"
    assert "copied" not in result["scores"], "nothing says which of them a model has seen"
    assert result["floor"]["kid"] != 0, "of forty others"
    assert found(capsys, "other", "one")["floor"] is None, "there are no others"
    save_images(Path("few"), 40 + 15, size=(8, 8), seed=2)
    assert found(capsys, "one", "few")["floor"].keys() == {"kid", "precision", "density"}, "of 15 others, not 40"


def test_a_run_against_its_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = experiment.start(tiny("vae", tmp_path / "runs", name="mine"), quiet=True)
    by_name = found(capsys, "mine", "digits")
    assert by_name["scores"] == found(capsys, str(run.path), "digits")["scores"]
    assert by_name["classes"]["images"] == 10_000 and by_name["classes"]["modes"] <= 10
    assert by_name["classes of real images"]["modes"] == 10
    assert "classes" not in found(capsys, "mine", "digits", "--num", "300")
    assert main(["eval", "mine", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert by_name["scores"]["fd"] == pytest.approx(judged["fd_lenet"], rel=1e-6)


def test_the_asked_class_is_looked_for_where_classes_mean_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    experiment.start(tiny("gan", tmp_path / "runs", name="mine", conditional=True), quiet=True)
    digits = load_images("digits")
    names = {"images": digits.train[:, 0], "labels": (digits.train_label + 1) % 10}
    np.savez("moved.npz", test_images=digits.test[:, 0], test_labels=(digits.test_label + 1) % 10, **names)
    usual = found(capsys, "mine", "digits")
    assert 0 <= usual["scores"]["class_accuracy"] <= 1 and usual["floor"]["class_accuracy"] > 0.95
    assert "class_accuracy" in found(capsys, "mine", "digits", "--holdout", "0.3")["scores"], "split in another way"
    assert "class_accuracy" not in found(capsys, "mine", "moved.npz")["scores"]


def test_classes_are_counted_of_images_from_all_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Files lie by class, so that the first of them are of a few."""
    digits = load_images("digits")
    save("sorted.npz", images=digits.train[np.argsort(digits.train_label, kind="stable")])
    result = found(capsys, "sorted.npz", "digits", "--num", "600")
    assert result["images"] == 359 and result["classes"]["images"] == 600
    assert result["classes"]["modes"] == 10 and result["classes"]["class_kl"] < 0.1


def test_a_run_is_compared_with_what_it_did_not_see(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of data without a split: the share that was held out from it, and copies are looked for in the rest."""
    save_images(Path("pictures"), 200, size=(8, 8))
    how = {"data": "pictures", "holdout": 0.25, "eval_samples": 0}
    run = experiment.start(tiny("vae", tmp_path / "runs", name="mine", **how), quiet=True)
    held_out = len(load_images("pictures", preparation=Preparation(holdout=0.25)).test)
    result = found(capsys, "mine", "pictures", "--holdout", "0.25")
    assert result["images"] == held_out and "copied" in result["scores"]
    assert main(["metrics", str(run.path), "pictures", "--json"]) == 0
    printed = capsys.readouterr()
    assert "mine learned from pictures, split or prepared in another way" in printed.err
    assert json.loads(printed.out)["images"] == 200
    again = experiment.start(tiny("vae", tmp_path / "runs", name="usual", data="pictures", eval_samples=0), quiet=True)
    tenth = len(load_images("pictures").test)
    assert 10 <= tenth < 40, "about a tenth, by name"
    result = found(capsys, again.name, "pictures")
    assert result["images"] == tenth and "near_copies" in result["scores"]


def test_a_model_with_labels_is_compared_in_the_shares_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uneven(Generative):
        num_classes = 10

        def sample(self, num: int, seed: int | None = None, label: torch.Tensor | None = None) -> torch.Tensor:
            label = torch.arange(num) % 10 if label is None else label
            return (label / 255)[:, None, None, None].expand(-1, 1, 8, 8)

    monkeypatch.setattr(image_sets.inference, "load", lambda path: Uneven(None))
    digits = load_images("digits")
    sevens = replace(digits, train_label=np.full(1438, 7))
    assert (image_sets.of_run("mine", Path(), 30, sevens).train == 7).all()
    for like in (None, replace(digits, train_label=None), replace(sevens, num_classes=8)):
        assert set(image_sets.of_run("mine", Path(), 30, like).train.flat) == {*range(10)}


def test_a_split_that_was_asked_for_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    data = save("all.npz", images=load_images("digits").train[:400])
    first, second = (found(capsys, "digits", data, "--holdout", "0.2", "--holdout-seed", seed) for seed in "01")
    assert first["images"] == second["images"] == 80 and "copied" in first["scores"]
    assert first["scores"]["kid"] != second["scores"]["kid"], "other images are held out"
    assert found(capsys, "digits", data)["images"] == 359, "of all, as many as samples"


def test_classes_of_another_network_are_not_those_of_the_labels(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels of other data have other meanings: here they are shifted by one."""
    digits = load_images("digits")
    names = {"images": digits.train[:, 0], "labels": (digits.train_label + 1) % 10}
    names |= {"test_images": digits.test[:, 0], "test_labels": (digits.test_label + 1) % 10}
    uneven = names["labels"] != 4
    names |= {name: names[name][uneven] for name in ("images", "labels")}
    np.savez("shifted.npz", **names)
    result = found(capsys, save("same.npz", images=digits.test), "shifted.npz", "--features", "digits")
    assert result["scores"]["class_kl"] == 0, "the same images"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere", "digits"], "'nowhere' is neither a data set nor a file, a folder or a run in runs"),
        (["digits", "large.npz"], "--image-size and --image-mode make them alike"),
        (["few.npz", "digits"], "few.npz has 3 images: 10 are needed"),
        (["digits", "digits", "--features", "absent.safetensors"], "holds no network of features"),
        (["digits", "digits", "--features", "/dev/zero"], "--features /dev/zero is not a file"),
        (["digits", "digits", "--features", "."], "--features . is not a file"),
        (["digits", "digits", "--features", "fashion-mnist"], "leave it out, or give --image-size"),
        (["digits"], "it compares two sets of images, not 1"),
        (["digits", ""], "a name is empty"),
        (["digits", "digits", "--features", ""], "a name is empty"),
        (["digits", "digits", "--num", "1"], "num"),
        (["agent", "digits"], "is an agent, it has no images"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save("large.npz", images=np.zeros((30, 1, 9, 9), np.uint8))
    save("few.npz", images=np.zeros((3, 1, 8, 8), np.uint8))
    if words[0] == "agent":
        experiment.start(tiny("dqn", tmp_path / "runs", name="agent", steps=100), quiet=True)
    assert main(["metrics", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert line in error.splitlines()[-1] and error.splitlines()[-1].startswith("error: ")
