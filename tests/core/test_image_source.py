"""When samples are compared with held-out images, under which names, and that training does not notice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import comparable, tiny
from torch import Tensor

from generative import gan
from rlgen import experiment, inference
from rlgen.core.image_source import ImageSource
from rlgen.core.interruption import EvaluationInterrupted
from rlgen.core.learner import Generative
from rlgen.data.images import ImageData
from rlgen.data.load import load as load_images
from rlgen.errors import UsageError
from rlgen.features import recipe
from rlgen.features.find import net_for
from rlgen.features.judge import Judge, drawn
from rlgen.metrics import OF_SAMPLES, SAMPLE_SEED
from rlgen.runs.rows import read_metrics

COPIES = {f"eval/{name}_lenet" for name in ("copied", "nearest_ratio", "near_copies")}
CPU = torch.device("cpu")
SCORES = ("fd", "kid", "precision", "recall", "density", "coverage", "two_sample", "modes", "class_kl")


class Dealer(Generative):
    """Its samples are real images, at random."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__(None)
        self.images, self.sizes = torch.from_numpy(images), list[int]()

    def sample(self, num: int, seed: int | None = None) -> Tensor:
        self.sizes.append(num)
        index = torch.randint(len(self.images), (num,), generator=torch.Generator().manual_seed(seed or 0))
        return self.images[index] / 255

    def evaluate(self, images: Tensor) -> dict[str, Tensor]:
        return {"eval/d_real": images.float().mean()}


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_images("digits")


def scored(result: dict[str, Any]) -> set[str]:
    return {name for name in result if name.startswith("eval/") and "d_real" not in name}


def test_scores_have_the_names_of_their_features_and_a_floor_beside(digits: ImageData) -> None:
    source, learner = ImageSource(digits, CPU, 200), Dealer(digits.train)
    found = source.evaluate(learner)
    names = {*(f"{name}_lenet" for name in SCORES), "swd"}
    assert scored(found) == {f"eval/{name}" for name in names} | {f"eval/floor/{name}" for name in names}
    assert all(OF_SAMPLES.match(name) for name in scored(found))
    assert not OF_SAMPLES.match("eval/nll") and not OF_SAMPLES.match("eval/fdx")
    assert source.judge is not None
    samples = drawn(learner.sample, 200, SAMPLE_SEED)
    for name, value in source.judge.scores(samples).items():
        assert found[f"eval/{name}{'' if name == 'swd' else '_lenet'}"] == value


class ByClass(Dealer):
    """Its samples are images of the asked classes; without being asked, of each class as many."""

    num_classes = 10

    def __init__(self, data: ImageData) -> None:
        super().__init__(data.train)
        self.of_class = [torch.from_numpy(data.train[data.train_label == label]) for label in range(10)]
        self.asked = list[Tensor]()

    def sample(self, num: int, seed: int | None = None, label: Tensor | None = None) -> Tensor:
        labels = self.labels(num, label)
        assert labels is not None
        self.asked.append(labels)
        generator = torch.Generator().manual_seed(seed or 0)
        found = [self.of_class[each] for each in labels.tolist()]
        return torch.stack([of[torch.randint(len(of), (), generator=generator)] for of in found]) / 255


def test_samples_of_a_model_with_labels_are_scored_in_the_shares_of_the_data(digits: ImageData) -> None:
    """Else a model without a fault misses some: here two of ten classes make up nine tenths, and one does not occur."""

    def uneven(images: np.ndarray, label: Any) -> tuple[np.ndarray, np.ndarray]:
        kept = (label < 2) | ((np.arange(len(label)) % 36 == 0) & (label != 9))
        return images[kept], label[kept]

    train, train_label = uneven(digits.train, digits.train_label)
    test, test_label = uneven(digits.test, digits.test_label)
    data = replace(digits, train=train, train_label=train_label, test=test, test_label=test_label)
    source, learner = ImageSource(data, CPU, len(test)), ByClass(data)
    source.judge = Judge(train, test, net_for(digits), CPU, train_label, test_label)
    first, second = (source.score_samples(learner) for _ in range(2))
    assert first == second
    assert first["eval/class_kl_lenet"] < 0.15, "of equal shares it is above 1"
    shares = torch.cat(learner.asked).bincount(minlength=10) / sum(map(len, learner.asked))
    expected = torch.from_numpy(train_label).bincount(minlength=10) / len(train_label)
    assert (shares - expected).abs().max() < 0.1 and shares[9] == 0
    assert first["eval/class_accuracy_lenet"] > 0.95 and first["eval/floor/class_accuracy_lenet"] > 0.95
    own = learner.sample(5, seed=3)
    assert torch.equal(own, learner.sample(5, seed=3)) and learner.asked[-1].tolist() == [0, 2, 4, 6, 8]


def test_labels_of_held_out_images_alone_are_no_classes_to_learn(digits: ImageData) -> None:
    source = ImageSource(replace(digits, train_label=None), CPU)
    assert source.spec.num_classes is None and ImageSource(digits, CPU).spec.num_classes == 10
    with pytest.raises(UsageError, match="--conditional: the training images have no labels; leave it out"):
        gan.GAN(gan.Config(conditional=True), source.spec)


def test_the_last_evaluation_has_more_samples_and_keeps_the_score_of_the_first_ones(digits: ImageData) -> None:
    source, learner = ImageSource(digits, CPU, 200), Dealer(digits.train)
    during, last = source.evaluate(learner), source.evaluate(learner, final=True)
    for name in scored(during):
        if not name.startswith("eval/floor/"):
            assert last[name.replace("eval/", "eval/first_200/")] == during[name]
    assert last["eval/fd_lenet"] != during["eval/fd_lenet"]
    assert scored(last) - scored(during) >= COPIES
    assert source.judged() == {
        "features": "lenet",
        "sha256": source.judge.net.digest(),
        "samples": 200,
        "at_end": 359,  # type: ignore[union-attr]
    }


def test_where_no_more_are_held_out_there_is_nothing_beside(digits: ImageData) -> None:
    source, learner = ImageSource(digits, CPU, 2000), Dealer(digits.train)
    during, last = source.evaluate(learner), source.evaluate(learner, final=True)
    assert scored(last) - scored(during) == COPIES
    assert all(last[name] == during[name] for name in scored(during))


def test_samples_are_compared_once_in_a_tenth_of_the_run(digits: ImageData) -> None:
    """However often it is evaluated; a source that goes on from a checkpoint does it at the same steps."""
    source, learner = ImageSource(digits, CPU, 100), Dealer(digits.train)
    when = []
    for percent in range(1, 101):
        learner.progress = (percent - 0.5) / 100  # as the loop sets it, before the turn
        if percent in (33, 60):
            again = ImageSource(digits, CPU, 100)
            assert again.load_state_dict(source.state_dict())
            source = again
        if scored(source.evaluate(learner)):
            when.append(percent)
    assert when == [1, *range(11, 101, 10)]
    tenths = []
    for tenth in range(1, 11):  # as many evaluations as by default
        learner.progress = tenth / 10 - 0.001
        tenths.append(bool(scored(source.evaluate(learner))))
    assert tenths == [True] * 10
    assert scored(source.evaluate(learner, final=True))


def test_none_are_compared_where_that_is_off_or_too_few_are_held_out(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Dealer(digits.train)
    few = ImageData("few", digits.train, digits.test[:5], None, None, None, "memory", {})
    labelled = replace(few, train_label=digits.train_label, test_label=digits.test_label[:5], num_classes=10)
    monkeypatch.setattr(recipe, "classifier", None)  # none is trained, as nothing is compared
    for source, num in (
        (ImageSource(digits, CPU), 256),
        (ImageSource(digits, CPU, 9), 256),
        (ImageSource(few, CPU, 100), 5),
        (ImageSource(labelled, CPU, 100), 5),
    ):
        assert not scored(source.evaluate(learner, final=True)) and source.judged() is None
        assert learner.sizes == [num, 64], "for the verdict on the run and for the grid alone"
        learner.sizes.clear()


@pytest.mark.parametrize(("num_classes", "shown"), [(None, 64), (1, 64), (2, 16), (10, 80), (1000, 128)])
def test_the_grid_has_a_row_a_class_or_eight_rows(digits: ImageData, num_classes: int | None, shown: int) -> None:
    learner = Dealer(digits.train)
    learner.num_classes = num_classes
    ImageSource(digits, CPU, 0).evaluate(learner)
    assert learner.sizes[-1] == shown


def test_an_interrupted_comparison_is_due_again(digits: ImageData) -> None:
    source, learner = ImageSource(digits, CPU, 100), Dealer(digits.train)
    with pytest.raises(EvaluationInterrupted):
        source.evaluate(learner, interrupted=lambda: True)
    assert scored(source.evaluate(learner))


@pytest.mark.parametrize("algo", ["gan", "vae"])
def test_training_does_not_notice(algo: str, tmp_path: Path) -> None:
    """The same weights and rows, whether samples are compared or not, and the same comparison of the finished model."""
    runs = {
        num: experiment.start(tiny(algo, tmp_path, name=f"run-{num}", eval_samples=num), quiet=True) for num in (0, 150)
    }
    without, with_them = (run.load()["learner"] for run in runs.values())
    for name in ("optimizers", "generator"):
        assert repr(without["_extra_state"][name]) == repr(with_them["_extra_state"][name])
    rows = [comparable(run.path) for run in runs.values()]
    rows[1] = [{name: value for name, value in row.items() if not OF_SAMPLES.match(_usual(name))} for row in rows[1]]
    assert rows[0] == rows[1]
    last = next(row for row in reversed([*read_metrics(runs[150].path)]) if "eval/fd_lenet" in row)
    assert "judged" in runs[150].info and "judged" not in runs[0].info
    found = inference.evaluate(runs[150].path)
    assert found["fd_lenet"] == pytest.approx(last["eval/fd_lenet"]) and found["floor/fd_lenet"] > 0
    assert "fd_lenet" not in inference.evaluate(runs[0].path)
    fewer = inference.evaluate(runs[0].path, samples=150)
    assert fewer["samples"] == 150 and found["samples"] == 359 and "samples" not in inference.evaluate(runs[0].path)
    with pytest.raises(UsageError, match="--samples 5: 10 or more are compared"):
        inference.evaluate(runs[0].path, samples=5)
    assert fewer["fd_lenet"] == pytest.approx(last["eval/first_150/fd_lenet"])
    metric = "eval/nll" if algo == "vae" else "eval/fd_lenet"
    assert runs[150].best is not None and runs[150].best["metric"] == metric


def _usual(name: str) -> str:
    return name.replace("eval/first_150/", "eval/")
