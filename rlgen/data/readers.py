"""Formats of the known data sets: IDX files and CIFAR batches."""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlgen.data.files import File
from rlgen.data.images import ImageData
from rlgen.data.known import IDX_FILES
from rlgen.data.preparation import AS_THEY_ARE, Preparation
from rlgen.data.splits import join
from rlgen.errors import UsageError


def from_idx(
    name: str, source: str, files: dict[str, File], sha256: dict[str, str], preparation: Preparation = AS_THEY_ARE
) -> ImageData:
    """The data set in the files of `IDX_FILES` that are there; training images suffice."""
    image, test = (read_idx(files[file], 3)[:, None] if file in files else None for file in IDX_FILES[::2])
    label, test_label = (read_idx(files[file], 1) if file in files else None for file in IDX_FILES[1::2])
    if image is None:
        raise UsageError(f"{source} has IDX files but no {IDX_FILES[0]}[.gz]: rename the training images to that")
    return join(name, source, sha256, image, test, label, test_label, preparation)


def read_idx(file: File, ndim: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: magic 00 00 08 ndim, ndim big-endian int32 sizes, then the values."""
    path, content = file
    if len(content) < 4 or content[:2] != b"\0\0":
        raise UsageError(f"{path} is not an IDX file (it starts with {content[:4].hex() or 'nothing'}): replace it")
    if content[2] != 0x08:
        raise UsageError(f"{path} holds IDX type 0x{content[2]:02x}: only unsigned bytes (0x08) are read, convert it")
    if content[3] != ndim:
        raise UsageError(f"{path} has {content[3]} dimensions where {ndim} are needed: images and labels mixed up?")
    header = 4 + 4 * ndim
    shape = tuple(np.frombuffer(content[4:header].ljust(header - 4, b"\0"), ">u4").tolist())
    if len(content) != header + math.prod(shape):
        promised = " x ".join(map(str, shape))
        raise UsageError(f"{path} has {len(content)} bytes, not {header} + {promised} as it says: fetch it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)  # writable, as the content is


def from_cifar(
    name: str, source: str, files: dict[str, File], sha256: dict[str, str], preparation: Preparation = AS_THEY_ARE
) -> ImageData:
    """The data set in the batches of CIFAR-10 or CIFAR-100; the test batch is held out."""
    batches = sorted(file for file in files if not file.startswith("test"))  # in an archive they lie in any order
    image, label = read_cifar_batches([files[file] for file in batches])
    test, test_label = read_cifar_batches([files[file] for file in files if file.startswith("test")])
    return join(name, source, sha256, image, test, label, test_label, preparation)


class ArrayUnpickler(pickle.Unpickler):
    """Builds lists, dicts, strings, numbers and NumPy arrays; any other global, hence any code, is refused."""

    reconstruct: Any = np.empty(0).__reduce__()[0]  # by this road because NumPy 2 moved it and made it private
    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): lambda text, coding: text.encode("latin1"),  # Python 3 writes bytes so, for Python 2
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.allowed[module, name]


def read_cifar_batches(files: list[File]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images [N, 3, 32, 32] and labels [N] of all the batches, in order."""
    images, labels = [], []
    for path, content in files:
        try:
            batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
            image, label = batch[b"data"], batch[b"fine_labels"] if b"fine_labels" in batch else batch[b"labels"]
            label = np.array(label, np.int64)
            if image.dtype != np.uint8 or image.shape != (len(label), 3072):
                raise ValueError(f"data is {image.dtype} {image.shape}")
        except MemoryError:
            raise
        except Exception as error:  # a malformed pickle can raise anything
            what = f"{type(error).__name__}: {error}".replace("\n", " ")
            raise UsageError(f"{path} is not a CIFAR batch ({what}): use the published python version") from None
        images.append(image.reshape(-1, 3, 32, 32))
        labels.append(label)
    return np.concatenate(images), np.concatenate(labels)
