import pytest
from image_files import check, cifar_files, error, idx_files, write

from rlgen.data.load import load
from rlgen.data.preparation import Preparation


def test_a_misspelt_name_gets_a_suggestion():
    assert "did you mean 'fashion-mnist'?" in error("fashon-mnist")
    assert "'a/b'" in error("a/b") and "did you mean" not in error("a/b")
    assert "neither" in error("x" * 5000)


def test_a_set_that_is_not_known_gets_no_wrong_suggestion():
    for name in ("kmnist", "cifar1000", "emnist"):
        message = error(name)
        assert "did you mean" not in message and "digits, mnist, fashion-mnist, cifar10, cifar100" in message
    assert "did you mean 'cifar10' or 'cifar100'?" in error("cifar")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("x.h5", "give an .npz or .npy, a folder or a .zip of images"),
        ("x.png", "give its folder, {folder}, an .npz"),
        ("train-images-idx3-ubyte.gz", "give its folder, {folder}, an .npz"),
        ("photos.tar.gz", "give its unpacked folder, an .npz"),
        ("cifar-10-python.tar.gz", "give --data cifar10 --data-dir {folder}, an .npz"),
    ],
)
def test_a_file_of_another_kind_says_what_to_give(tmp_path, file, words):
    (tmp_path / file).write_bytes(b"x")
    assert words.format(folder=tmp_path) in error(tmp_path / file)


def test_a_single_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    assert "give an .npz" in error(tmp_path / "x.bin")


def test_a_folder_of_torchvision_is_read_by_its_path(tmp_path):
    write(tmp_path / "FashionMNIST" / "raw", idx_files(), compress=True)
    for folder in ("FashionMNIST", "FashionMNIST/raw"):
        data = check(load(str(tmp_path / folder)))
        assert data.name == "FashionMNIST" and (len(data.train), len(data.test)) == (12, 4)
    write(tmp_path / "data" / "cifar-10-batches-py", cifar_files())
    for folder in ("data", "data/cifar-10-batches-py"):
        data = check(load(str(tmp_path / folder)))
        assert data.name == "cifar10" and (len(data.train), len(data.test)) == (20, 4)


def test_the_part_of_a_set_that_has_no_such_part_is_one_line(tmp_path):
    write(tmp_path, idx_files())
    assert "has no val images, it has test, train" in error(tmp_path, asked="val")
    assert "digits has no val images" in error("digits", asked="val")
    assert len(load(str(tmp_path), asked="test", preparation=Preparation(holdout=0.5)).test) == 4
