"""Data sets that have a name: what they are, their published bytes, and where to download them. No NumPy here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)  # of MNIST and of all who imitate it


@dataclass(frozen=True)
class KnownSet:
    """A data set that has a name."""

    about: str
    shape: str
    sha256: dict[str, str]  # by file, of the uncompressed bytes: mirrors recompress
    urls: tuple[str, ...] = ()  # tried in order; one file a URL, or an archive of them all
    archive: str | None = None
    folders: tuple[str, ...] = ()  # where torchvision and Keras put its files, in theirs


KNOWN = {
    "digits": KnownSet("hand-written digits, comes with scikit-learn (the default)", "8x8 grey, 1,438 + 359", {}),
    "stacked-digits": KnownSet(
        "three of them as red, green and blue: 1,000 classes, to see what a model leaves out",
        "8x8 colour, 50,000 + 10,000",
        {},
    ),
    "mnist": KnownSet(
        "hand-written digits (LeCun et al. 1998)",
        "28x28 grey, 60,000 + 10,000",
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/{file}.gz",
            "https://ossci-datasets.s3.amazonaws.com/mnist/{file}.gz",
        ),
        folders=("raw", "MNIST/raw"),
    ),
    "fashion-mnist": KnownSet(
        "ten kinds of clothing (Xiao et al. 2017)",
        "28x28 grey, 60,000 + 10,000",
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/{file}.gz",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{file}.gz",
        ),
        folders=("raw", "FashionMNIST/raw"),
    ),
    # The sums of the batches inside the archive, as several public repositories list them beside the well-known md5
    # (archive c58f30108f718f92721af3b95e74349a, data_batch_1 c99cafc152244af753f735de768cd75f); not computed by us.
    "cifar10": KnownSet(
        "ten kinds of objects and animals (Krizhevsky 2009)",
        "32x32 colour, 50,000 + 10,000",
        {
            "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
            "data_batch_2": "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
            "data_batch_3": "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
            "data_batch_4": "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
            "data_batch_5": "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
            "test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
        },
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        archive="cifar-10-python.tar.gz",
        folders=("cifar-10-batches-py", "cifar-10-batches-py-target/cifar-10-batches-py"),
    ),
    # Listed as those above, beside the archive's 85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7.
    "cifar100": KnownSet(
        "a hundred kinds of objects and animals (Krizhevsky 2009)",
        "32x32 colour, 50,000 + 10,000",
        {
            "train": "735e79b04f092ca3d2e6d07f368c0a7d70d48c48d28865950cc24454cf45129b",
            "test": "4b67687d9933c4db8f0831104447f15b93774f4f464bd0516f0f0f2ac83b7864",
        },
        ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        archive="cifar-100-python.tar.gz",
        folders=("cifar-100-python", "cifar-100-python-target/cifar-100-python"),
    ),
}
OTHER_NAMES = {"fmnist": ["fashion-mnist"], "fashion": ["fashion-mnist"], "cifar": ["cifar10", "cifar100"]}


def meant(word: str) -> list[str]:
    """The data sets that a word can only mean: written in another way, or with a letter lost, doubled or out of place.

    A letter or a digit more or another one is the name of another set: kmnist, mnist-m, cifar1000.
    """
    typed = plain(word)
    if os.sep in word or not typed:
        return []
    found = [name for name in KNOWN if plain(name) == typed] or OTHER_NAMES.get(typed, [])
    return found or [name for name in KNOWN if is_misspelt(typed, plain(name))]


def plain(word: str) -> str:
    """A name without capitals, dashes and the like."""
    return re.sub("[^a-z0-9]", "", word.lower())


def is_misspelt(typed: str, name: str) -> bool:
    """Whether a word is a name with the same beginning and digits, and a letter lost, doubled or out of place."""
    if typed[0] != name[0] or re.sub(r"\D", "", typed) != re.sub(r"\D", "", name):
        return False
    lost = any(typed == name[:i] + name[i + 1 :] for i in range(len(name)))
    return lost or sorted(typed) == sorted(name) or re.sub(r"([a-z])\1", r"\1", typed) == name


def known() -> list[tuple[str, str, str]]:
    """The data sets that have a name: (name, one line about it, size and number of images)."""
    return [(name, entry.about, entry.shape) for name, entry in KNOWN.items()]
