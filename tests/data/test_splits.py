import numpy as np
import pytest
from image_files import save_images

from rlgen.data.load import load
from rlgen.data.splits import fifth_of_every_class, join, tenth_at_random, tenth_by_name


def test_the_split_of_a_folder_does_not_move_when_files_are_added(tmp_path):
    save_images(tmp_path / "a", 60)
    before = load(str(tmp_path / "a"))
    save_images(tmp_path / "b", 90)  # the same sixty, and thirty more
    after = load(str(tmp_path / "b"))
    assert {image.tobytes() for image in before.test} <= {image.tobytes() for image in after.test}
    assert {image.tobytes() for image in before.train} <= {image.tobytes() for image in after.train}


def test_what_is_held_out_never_changes():
    """Published numbers depend on it."""
    assert tenth_at_random(30).nonzero()[0].tolist() == [2, 13, 28]
    assert fifth_of_every_class(np.arange(20) % 2).nonzero()[0].tolist() == [4, 7, 11, 16]
    assert tenth_by_name([f"{i:03}.png" for i in range(40)]).nonzero()[0].tolist() == [22, 38]


@pytest.mark.parametrize("num", [2, 9, 10, 19, 20])
def test_without_test_images_a_tenth_is_held_out_and_at_least_one(num):
    image = np.arange(num, dtype=np.uint8).reshape(num, 1, 1, 1)
    data = join("toy", "memory", {}, image, None, np.arange(num), None)
    assert len(data.test) == max(1, num // 10)
    assert sorted([*data.train.ravel(), *data.test.ravel()]) == list(range(num))
    np.testing.assert_array_equal(data.test.ravel(), data.test_label)
    np.testing.assert_array_equal(data.train.ravel(), data.train_label)
