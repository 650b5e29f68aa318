"""Which network a data set gets: the one that comes with rlgen, a kept one, a random one."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rlgen.data.images import ImageData
from rlgen.data.load import load as load_images
from rlgen.data.preparation import Preparation
from rlgen.errors import DiskError
from rlgen.features import recipe
from rlgen.features.find import HERE, SHIPPED, net_for
from rlgen.features.judge import Judge
from rlgen.features.net import FeatureNet, load
from rlgen.files import user_cache

LEAST_ACCURACY = {"digits": 0.97, "fashion-mnist": 0.9}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/rlgen/features"


def labelled(num: int = 60, classes: int = 2) -> ImageData:
    images = np.random.RandomState(0).randint(0, 256, (num, 1, 5, 5)).astype(np.uint8)
    label = np.arange(num) % classes
    return ImageData("mine", images, images[:20], label, label[:20], classes, "memory", {"images": "abc"})


def test_what_comes_with_rlgen_is_small_and_knows_its_classes() -> None:
    for name in SHIPPED:
        net = load(HERE / f"{name}.safetensors")
        assert net.about["accuracy"] > LEAST_ACCURACY[name] and net.about["data"] == name
        assert (HERE / f"{name}.safetensors").stat().st_size < 300_000


def test_digits_have_the_classifier_that_comes_with_rlgen(cache: Path) -> None:
    data = load_images("digits")
    net = net_for(data)
    assert net.about["data"] == "digits"
    right = net(torch.from_numpy(data.test))[1] == torch.from_numpy(data.test_label)
    assert right.double().mean().item() == pytest.approx(net.about["accuracy"], abs=0.006)
    assert net_for(load_images("digits", preparation=Preparation(holdout=0.1))).digest() == net.digest()
    assert net_for(replace(data, name="other")).digest() == net.digest(), "the bytes count, not the name"
    assert not cache.exists()


def test_other_bytes_or_sizes_have_another(cache: Path) -> None:
    data = load_images("digits")
    shipped = net_for(data).digest()
    small = replace(data, train=data.train[:, :, ::2, ::2].copy(), test=data.test[:, :, ::2, ::2].copy())
    assert net_for(small).digest() != shipped
    assert net_for(replace(data, sha256={"images": "0"})).label.startswith("lenet-")
    assert len(list(cache.iterdir())) == 2


def test_a_classifier_is_trained_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = net_for(labelled())
    (kept,) = cache.iterdir()
    monkeypatch.setattr(recipe, "classifier", lambda data: pytest.fail("it is kept"))
    assert net_for(labelled()).digest() == net.digest() == load(kept).digest()


def test_a_damaged_one_is_trained_again(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = net_for(labelled())
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert net_for(labelled()).digest() == net.digest() == load(kept).digest()
    assert "it is trained again" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert net_for(labelled()).name == "lenet"
    assert "trains it again" in capsys.readouterr().err


def test_one_of_other_images_is_trained_again(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = net_for(labelled())
    (kept,) = cache.iterdir()
    FeatureNet((1, 7, 7), 2).save(kept)
    assert net_for(labelled()).digest() == net.digest() == load(kept).digest()
    assert "is of other images than mine; it is trained again" in capsys.readouterr().err


def test_no_home_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a user that a container does not know."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where nothing says who it is
    with pytest.raises(DiskError, match="set XDG_CACHE_HOME to a folder"):
        user_cache()
    assert net_for(labelled()).name == "lenet"
    assert "no home directory" in capsys.readouterr().err
    for given in (None, "/"):
        with pytest.raises(DiskError, match="set XDG_CACHE_HOME to a folder"):
            load_images("mnist", given)


def test_without_labels_that_teach_anything_it_is_random(cache: Path) -> None:
    data = labelled()
    ones = replace(data, train_label=np.zeros(60, np.int64))
    few = replace(data, num_classes=40)
    for each in (replace(data, train_label=None, num_classes=None), ones, few, replace(data, num_classes=1)):
        assert net_for(each).name == "random"
    assert not cache.exists()


def test_stacked_digits_are_looked_at_channel_by_channel(cache: Path) -> None:
    """Of 26,000 real ones: all of the 1,000 classes, near the shares that they have."""
    data, digits = load_images("stacked-digits"), load_images("digits")
    net, grey = net_for(data), net_for(digits)
    assert not cache.exists() and (net.num_features, net.num_classes) == (3 * grey.num_features, 1000)
    assert net.digest() != grey.digest()
    images = torch.from_numpy(data.test[:40])
    features, classes = net(images)
    by_channel = [grey(images[:, channel : channel + 1]) for channel in range(3)]
    assert torch.allclose(features, torch.cat([each[0] for each in by_channel], 1), atol=1e-6)
    assert torch.equal(classes, sum(each[1] * 10 ** (2 - i) for i, each in enumerate(by_channel)))
    judge = Judge(data.train, data.test, net, torch.device("cpu"), data.train_label)
    found = judge.class_scores(*2 * (net(torch.from_numpy(data.train[:26_000]))[1],))
    assert found["modes"] == 1000 and found["class_kl"] < 0.05
