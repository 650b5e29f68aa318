"""A folder of images: which of them are read, and what they are."""

import contextlib
import shutil
import zlib

import numpy as np
import pytest
from image_files import check, error, save_images
from PIL import Image

from rlgen.data.load import load
from rlgen.data.tree import walk


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


def test_bad_folders_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no images but 0 other files" in error(tmp_path / "empty")

    save_images(tmp_path / "sizes", 3)
    save_images(tmp_path / "sizes" / "more", 2, size=(9, 9))
    assert "has images (000.png, 001.png, 002.png) beside folders of images (more/)" in error(tmp_path / "sizes")
    shutil.move(tmp_path / "sizes" / "more" / "000.png", tmp_path / "sizes" / "big.png")
    shutil.rmtree(tmp_path / "sizes" / "more")
    message = error(tmp_path / "sizes")
    assert "images of 2 sizes (3 of 6x5, 1 of 9x9" in message and "resize" in message

    save_images(tmp_path / "one", 1)
    assert "at least one of each" in error(tmp_path / "one")


def count(folder, **options):
    """Training images, held-out images, classes."""
    data = check(load(str(folder), **options))
    return len(data.train), len(data.test), data.num_classes


def tree(folder, **below):
    """A folder of folders; a number is that of the images in one, and they are like no others."""
    for key, value in below.items():
        if isinstance(value, dict):
            tree(folder / key, **value)
        else:
            save_images(folder / key, value, seed=zlib.crc32(str(folder / key).encode()))
    return folder


SPELLINGS = [
    ("train", "test"),
    ("Train", "Test"),
    ("TRAINING", "TESTING"),
    ("train", "val"),
    ("training", "valid"),
    ("Train", "Validation"),
    ("train_set", "test_set"),
    ("training-images", "test-images"),
    ("train2017", "val2017"),
    ("images_train", "images_val"),
    ("seg_train", "seg_test"),
    ("Intel Train", "Intel Valid"),
    ("entrenamiento", "prueba"),
    ("entraînement", "validation"),
    ("Trainingsdaten", "Testdaten"),
    ("treino", "teste"),
    ("训练集", "测试集"),
    ("train", "hold-out"),
]


@pytest.mark.parametrize(("train", "held"), SPELLINGS)
def test_a_split_of_any_spelling_is_no_class_and_what_is_held_out_is_never_learned_from(tmp_path, train, held):
    tree(tmp_path, **{train: {"cat": 4, "dog": 4}, held: {"cat": 2, "dog": 1}})
    assert count(tmp_path) == (8, 3, 2)
    below = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.png")}
    assert below == {train, held}
    held_out = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in (tmp_path / held).rglob("*.png")}
    data = load(str(tmp_path))
    assert {image.tobytes() for image in data.test} == held_out and data.test_label.tolist() == [0, 0, 1]
    assert not {image.tobytes() for image in data.train} & held_out


def test_a_prefix_is_one_of_all_parts_or_none(tmp_path):
    tree(tmp_path / "a", seg_train={"seg_train": {"cat": 4, "dog": 4}}, seg_test={"seg_test": {"cat": 2, "dog": 1}})
    assert count(tmp_path / "a") == (8, 3, 2)
    tree(tmp_path / "b", bullet_train=8, crash_test=9, cat=4)
    assert load(str(tmp_path / "b")).num_classes == 3, "labels"
    tree(tmp_path / "c", seg_train={"cat": 4}, seg_test={"cat": 2}, seg_pred=3)
    assert "seg_pred/ beside them is none" in error(tmp_path / "c")


def test_what_a_link_leads_to_may_not_be_looked_at(tmp_path, monkeypatch):
    tree(tmp_path, a=3)

    class Entry:
        name, path = "a", str(tmp_path / "a")

        def is_dir(self):
            raise PermissionError(13, "Permission denied", self.path)

    monkeypatch.setattr("os.scandir", lambda folder: contextlib.nullcontext([Entry()]))
    assert f"{tmp_path}/a cannot be read (Permission denied)" in error(tmp_path)


def test_with_train_val_and_test_val_is_held_out_and_test_is_left_aside_unless_it_is_asked_for(tmp_path):
    tree(tmp_path, train={"cat": 4, "dog": 4}, val={"cat": 2, "dog": 1}, test={"cat": 1, "dog": 1})
    assert count(tmp_path) == (8, 3, 2)
    assert count(tmp_path, asked="test") == (8, 2, 2)
    assert "val is held out; test is left aside (2 images)" in load(str(tmp_path)).about()
    shutil.rmtree(tmp_path / "test")
    assert "has no test images, it has train, val" in error(tmp_path, asked="test")


def test_bad_files_of_a_part_that_is_left_aside_are_no_reason_to_stop(tmp_path):
    tree(tmp_path, train=4, val=2, test=1)
    (tmp_path / "test" / "000.png").write_text("no image")
    assert count(tmp_path) == (4, 2, None)


def test_the_split_may_lie_in_the_labels_or_in_a_folder_of_everything(tmp_path):
    assert count(tree(tmp_path / "a", cat={"train": 4, "test": 1}, dog={"train": 3, "test": 2})) == (7, 3, 2)
    assert count(tree(tmp_path / "b", photos={"train": {"cat": 2, "dog": 2}, "val": {"cat": 1, "dog": 1}})) == (4, 2, 2)
    assert count(tree(tmp_path / "c", train={"train": {"x": 2, "y": 2}}, test={"test": {"x": 1, "y": 1}})) == (4, 2, 2)
    assert count(tree(tmp_path / "d", all={"cat": 20, "dog": 20}))[2] == 2


def test_only_a_training_folder_is_split_by_name(tmp_path):
    train, test, classes = count(tree(tmp_path, train={"cat": 30, "dog": 30}))
    assert train + test == 60 and 1 <= test <= 15 and classes == 2


def test_test_images_without_labels_are_held_out_without_labels(tmp_path):
    for name, test in (("a", 3), ("b", {"unknown": 3})):
        folder = tree(tmp_path / name, train={"cat": 4, "dog": 4}, test=test)
        assert count(folder) == (8, 3, 2) and load(str(folder)).test_label is None


def test_a_class_that_is_called_train_is_one_inside_a_split(tmp_path):
    assert count(tree(tmp_path, train={"bus": 3, "train": 3}, test={"bus": 1, "train": 1})) == (6, 2, 2)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({"bus": 2, "car": 2, "train": 2}, "train/ is a part of a split, and bus/, car/ beside it is none"),
        ({"train": 2, "test": 2, "more": 2}, "test/ and train/ are parts of a split, and more/ beside them is none"),
        ({"cat": {"train": 2, "test": 1}, "dog": 2}, "cat/test/000.png is in a part of a split and dog/000.png is in"),
        ({"val": 2, "test": 2}, "has test and val images but none to train on"),
    ],
)
def test_what_lies_beside_a_split_is_refused(tmp_path, folders, words):
    assert words in error(tree(tmp_path, **folders))


def test_hidden_folders_are_neither_images_nor_classes(tmp_path):
    tree(tmp_path, cat=20, dog=20)
    for place in (".ipynb_checkpoints", "cat/.ipynb_checkpoints", "__MACOSX", "dog/@eaDir", ".git/a"):
        save_images(tmp_path / place, 1)
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "cat/._000.png"):
        (tmp_path / name).write_bytes(b"\0")
    train, test, classes = count(tmp_path)
    assert (train + test, classes) == (40, 2)

    save_images(tmp_path / "flat", 20)
    save_images(tmp_path / "flat" / ".ipynb_checkpoints", 1)
    assert load(str(tmp_path / "flat")).num_classes is None
    save_images(tmp_path / ".cache", 20)
    assert load(str(tmp_path / ".cache")).num_classes is None  # the folder that is given may be hidden


def test_linked_folders_and_files_are_followed_and_a_link_in_a_circle_ends(tmp_path):
    tree(tmp_path / "store", cat=20, dog=20)
    save_images(tmp_path / "d" / "ant", 20, seed=7)
    (tmp_path / "d" / "cat").symlink_to(tmp_path / "store" / "cat")
    (tmp_path / "d" / "dog").mkdir()
    for path in (tmp_path / "store" / "dog").iterdir():
        (tmp_path / "d" / "dog" / path.name).symlink_to(path)
    (tmp_path / "d" / "ant" / "back").symlink_to(tmp_path / "d")
    train, test, classes = count(tmp_path / "d")
    assert (train + test, classes) == (60, 3)
    (tmp_path / "link").symlink_to(tmp_path / "d")
    assert count(tmp_path / "link") == (train, test, 3)


def test_other_files_are_said_to_be_left_out(tmp_path):
    save_images(tmp_path, 20)
    for name in ("a.heic", "b.HEIC", "notes.txt", "LICENSE"):
        (tmp_path / name).write_text("x")
    assert "other files are left out (2 .heic, 1 LICENSE, 1 .txt)" in load(str(tmp_path)).about()
    assert "left out" not in load(str(save_images(tmp_path / "only", 20) or tmp_path / "only")).about()


def test_a_link_to_what_the_data_lie_in_is_not_followed(tmp_path):
    for name in ("data/cat", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").touch()
    (tmp_path / "data" / "up").symlink_to(tmp_path)
    assert [path.name for path in walk(tmp_path / "data")] == ["1.png"]
