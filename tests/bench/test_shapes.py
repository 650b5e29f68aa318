"""Pictures that a script makes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from rlgen.bench import shapes
from rlgen.data.load import load


def test_pictures_are_the_same_for_a_seed_and_others_for_another() -> None:
    five = shapes.shapes(5, size=16, seed=1)
    assert np.array_equal(shapes.shapes(3, size=16, seed=1), five[:3])
    assert not np.array_equal(shapes.shapes(5, size=16, seed=2), five)
    assert len({picture.tobytes() for picture in shapes.shapes(50, size=16)}) == 50


def test_a_gradient_goes_from_one_colour_to_the_other() -> None:
    ground = shapes.gradient(np.random.default_rng(0), 65, np.array([[0.0, 10, 20], [200, 110, 20]]))
    flat = ground.reshape(-1, 3).astype(int)
    assert (flat[:, 2] == 20).all()
    assert np.abs(flat[:, 0] - 2 * (flat[:, 1] - 10)).max() <= 2  # a straight line between the two
    assert flat[:, 0].max() - flat[:, 0].min() > 100
    assert np.abs(ground[32, 32].astype(int) - [100, 60, 20]).max() <= 1  # the middle of both


def test_each_kind_is_drawn_in_one_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in shapes.KINDS:
        monkeypatch.setattr(shapes, "KINDS", (kind,))
        monkeypatch.setattr(shapes, "gradient", lambda random, size, colours: np.zeros((size, size, 3), np.uint8))
        picture = shapes.draw(np.random.default_rng(3), 32)
        drawn = picture[picture.any(axis=2)]
        one_colour = (picture == drawn.max(axis=0)).all(axis=2)
        assert 0.01 < one_colour.mean() < 0.4, kind
        assert len(drawn) > one_colour.sum()  # smooth edges


def test_the_file_is_a_set_with_held_out_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "shapes.npz"
    monkeypatch.setattr(sys, "argv", ["shapes", str(out), "--train", "12", "--test", "7", "--size", "8"])
    shapes.main()
    data = load(str(out))
    assert data.train.shape == (12, 3, 8, 8)
    assert data.test.shape == (7, 3, 8, 8)
