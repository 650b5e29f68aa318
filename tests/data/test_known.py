import subprocess
import sys

import pytest

from rlgen.data.known import known, meant


def test_known_lists_every_name_without_reading_anything():
    assert [name for name, _, _ in known()] == [
        "digits",
        "stacked-digits",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
    ]
    assert all(about and shape for _, about, shape in known())


def test_the_list_needs_no_numpy():
    code = "import sys, rlgen.data.known; sys.exit('numpy' in sys.modules)"  # completion reads it at every press of Tab
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("MNIST", ["mnist"]),
        ("FashionMNIST", ["fashion-mnist"]),
        ("fashion_mnist", ["fashion-mnist"]),
        ("fmnist", ["fashion-mnist"]),
        ("fashon-mnist", ["fashion-mnist"]),
        ("minst", ["mnist"]),
        ("mnnist", ["mnist"]),
        ("mnst", ["mnist"]),
        ("digit", ["digits"]),
        ("CIFAR-10", ["cifar10"]),
        ("cifar_100", ["cifar100"]),
        ("cfiar10", ["cifar10"]),
        ("cifar", ["cifar10", "cifar100"]),
    ],
)
def test_a_word_that_can_only_mean_a_set_means_it(word, names):
    assert meant(word) == names


@pytest.mark.parametrize(
    "word",
    [
        *("kmnist", "emnist", "qmnist", "notMNIST", "mnist-m", "mnist1d", "mnist-c", "nist", "medmnist", "svhn"),
        *("cifar1000", "cifar20", "cifar10.1", "cifar01", "stl10", "celeba", "fashion-gen", "deep-fashion", "a/mnist"),
        *("omniglot", "-", ""),
    ],
)
def test_the_name_of_another_set_is_not_taken_for_one_of_ours(word):
    assert meant(word) == []
