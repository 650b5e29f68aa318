import numpy as np
import pytest
from image_files import idx_files, save_images, write

from rlgen.data.load import load
from rlgen.data.preparation import AS_THEY_ARE, Preparation
from rlgen.data.splits import fifth_of_every_class, join, share_at_random, share_by_name


def test_the_split_of_a_folder_does_not_move_when_files_are_added(tmp_path):
    save_images(tmp_path / "a", 60)
    before = load(str(tmp_path / "a"))
    save_images(tmp_path / "b", 90)  # the same sixty, and thirty more
    after = load(str(tmp_path / "b"))
    assert {image.tobytes() for image in before.test} <= {image.tobytes() for image in after.test}
    assert {image.tobytes() for image in before.train} <= {image.tobytes() for image in after.train}


def test_what_is_held_out_never_changes():
    """Published numbers depend on it."""
    assert share_at_random(30, AS_THEY_ARE).nonzero()[0].tolist() == [2, 13, 28]
    assert fifth_of_every_class(np.arange(20) % 2).nonzero()[0].tolist() == [4, 7, 11, 16]
    assert share_by_name([f"{i:03}.png" for i in range(40)], AS_THEY_ARE).nonzero()[0].tolist() == [22, 38]


@pytest.mark.parametrize("num", [2, 9, 10, 19, 20])
def test_without_test_images_a_tenth_is_held_out_and_at_least_one(num):
    image = np.arange(num, dtype=np.uint8).reshape(num, 1, 1, 1)
    data = join("toy", "memory", {}, image, None, np.arange(num), None)
    assert len(data.test) == max(1, num // 10)
    assert sorted([*data.train.ravel(), *data.test.ravel()]) == list(range(num))
    np.testing.assert_array_equal(data.test.ravel(), data.test_label)
    np.testing.assert_array_equal(data.train.ravel(), data.train_label)


def test_the_default_share_is_a_tenth_and_another_seed_holds_out_others():
    for num in (10, 70, 100, 999, 1000):
        assert share_at_random(num, AS_THEY_ARE).sum() == num // 10
        assert share_at_random(num, Preparation(holdout=0.29)).sum() == int(round(29 * num) / 100)
    names = [f"{i:03}.png" for i in range(400)]
    for chosen in (share_at_random(400, Preparation(holdout=0.3)), share_by_name(names, Preparation(holdout=0.3))):
        assert 90 < chosen.sum() < 150
    for share in (share_at_random, share_by_name):
        first, second = (share(400 if share is share_at_random else names, Preparation(holdout_seed=i)) for i in (0, 1))
        assert (first != second).any()


@pytest.mark.parametrize("holdout", [0.001, 0.999])
def test_something_is_always_held_out_and_something_learned_from(holdout):
    for num in (2, 5, 50):
        for chosen in (
            share_at_random(num, Preparation(holdout=holdout)),
            share_by_name([f"{i}.png" for i in range(num)], Preparation(holdout=holdout)),
        ):
            assert 0 < chosen.sum() < num


def test_a_share_that_is_asked_for_is_taken_from_the_training_images_and_test_images_stay_unseen(tmp_path):
    quarter = Preparation(holdout=0.25)
    write(tmp_path / "idx", idx_files(num_train=40, num_test=5))
    own, data = load(str(tmp_path / "idx")), load(str(tmp_path / "idx"), preparation=quarter)
    assert (len(data.train), len(data.test)) == (30, 10)
    seen = {image.tobytes() for image in (*data.train, *data.test)}
    assert not seen & {image.tobytes() for image in own.test}
    assert "a share of 0.25 is held out; 5 test images are left aside" in data.about()

    for part, num in (("train", 40), ("val", 4), ("test", 4)):
        save_images(tmp_path / "folder" / part, num, seed=num + len(part))
    data = load(str(tmp_path / "folder"), preparation=quarter)
    assert len(data.train) + len(data.test) == 40 and 4 < len(data.test) < 20
    about = "about a share of 0.25 is held out, by name; test is left aside (4 images); val is left aside (4 images)"
    assert about in data.about()

    assert len(load("digits", preparation=quarter).test) == 449


@pytest.mark.parametrize("split", [True, False])
def test_labels_that_leave_numbers_out_are_noted(split):
    """They may be digits of which some were taken away, or ids that were meant to be numbered anew."""
    image, label = np.zeros((30, 1, 2, 2), np.uint8), np.arange(30) % 3
    test = (image[:3], label[:3]) if split else (None, None)
    assert "have no image" not in join("toy", "memory", {}, image, test[0], label, test[1]).about()
    gaps = join("toy", "memory", {}, image, test[0], 5 * label, None if test[1] is None else 5 * test[1])
    assert gaps.num_classes == 11
    assert "8 classes have no image: they count from 0 to the largest label" in gaps.about()
