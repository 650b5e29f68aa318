"""Formats that images come in: IDX files, an `.npz`, CIFAR-10 batches, a folder of images."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlgen.data.files import File, reason
from rlgen.data.images import ImageData
from rlgen.data.known import IDX_FILES
from rlgen.data.splits import join, split, tenth_by_name
from rlgen.errors import UsageError

NPZ_ARRAYS = ("images", "test_images", "labels", "test_labels")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def from_idx(name: str, source: str, files: dict[str, File], sha256: dict[str, str]) -> ImageData:
    """The data set in the files of `IDX_FILES` that are there; training images suffice."""
    image, test = (read_idx(files[file], 3)[:, None] if file in files else None for file in IDX_FILES[::2])
    label, test_label = (read_idx(files[file], 1) if file in files else None for file in IDX_FILES[1::2])
    if image is None:
        raise UsageError(f"{source} has IDX files but no {IDX_FILES[0]}[.gz]: rename the training images to that")
    return join(name, source, sha256, image, test, label, test_label)


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
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def from_cifar(name: str, source: str, files: dict[str, File], sha256: dict[str, str]) -> ImageData:
    """The data set in the batches of CIFAR-10; the test batch is held out."""
    batches = sorted(file for file in files if file != "test_batch")  # in an archive they lie in any order
    image, label = read_cifar_batches([files[file] for file in batches])
    test, test_label = read_cifar_batches([files["test_batch"]])
    return join(name, source, sha256, image, test, label, test_label)


class ArrayUnpickler(pickle.Unpickler):
    """Builds lists, dicts, strings, numbers and NumPy arrays; any other global, hence any code, is refused."""

    reconstruct: Any = np.empty(0).__reduce__()[0]  # by this road because NumPy 2 moved it and made it private
    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
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
            image, label = batch[b"data"], np.array(batch[b"labels"], np.int64)
            if image.dtype != np.uint8 or image.shape != (len(label), 3072):
                raise ValueError(f"data is {image.dtype} {image.shape}")
        except Exception as error:  # a malformed pickle can raise anything
            what = f"{type(error).__name__}: {error}".replace("\n", " ")
            raise UsageError(f"{path} is not a CIFAR-10 batch ({what}): use the published python version") from None
        images.append(image.reshape(-1, 3, 32, 32))
        labels.append(label)
    return np.concatenate(images), np.concatenate(labels)


def from_npz(path: Path) -> ImageData:
    """The data set in an `.npz`: `images`, and maybe `labels`, `test_images` and `test_labels`."""
    try:
        content = path.read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            held = {name: np.asarray(arrays[name]) for name in NPZ_ARRAYS if name in arrays}
            if "images" not in held:
                others = ", ".join(arrays.files) or "nothing"
                raise UsageError(f"{path} holds {others}: it needs `images`, uint8 [N, H, W, C] or [N, H, W]")
    except UsageError:
        raise
    except Exception as error:  # a malformed zip can raise anything
        raise UsageError(f"{path} cannot be read as .npz ({reason(error)}): save it with numpy.savez") from None
    for name, array in held.items():
        if name.endswith("images"):
            held[name] = channels_first(f"{path}: {name}", array)
        elif array.dtype.kind not in "iu" or array.ndim != 1:
            raise UsageError(f"{path}: {name} is {array.dtype} {list(array.shape)}: it needs integers [N]")
    test, label, test_label = (held.get(name) for name in NPZ_ARRAYS[1:])
    sha256 = {path.name: hashlib.sha256(content).hexdigest()}
    return join(path.stem, str(path), sha256, held["images"], test, label, test_label)


def channels_first(where: str, image: NDArray[Any]) -> NDArray[np.uint8]:
    """Images [N, H, W, C] or [N, H, W] -> [N, C, H, W]; errors begin with `where`."""
    if image.dtype != np.uint8:
        raise UsageError(f"{where} is {image.dtype}: it needs uint8 in 0..255, (255 * images).round().astype('uint8')")
    if image.ndim == 3:
        image = image[..., None]
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise UsageError(f"{where} has shape {list(image.shape)}: it needs [N, H, W, C] with C 1, 3 or 4, or [N, H, W]")
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2))


def from_folder(folder: Path) -> ImageData:
    """The images under a folder; sub-folders are labels, `train` and `test` sub-folders the split."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    paths = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    names = [path.relative_to(folder).as_posix() for path in paths]
    if not names:
        formats = " ".join(sorted(IMAGE_SUFFIXES))
        raise UsageError(f"{folder} holds no images but {len(files)} other files: put some there, of {formats}")
    has_split = {name.split("/")[0] for name in names} == {"train", "test"}
    depth = 1 if has_split else 0  # of the folders that are the labels
    classes = [name.split("/")[depth] if name.count("/") > depth else "" for name in names]
    if "" in classes and set(classes) != {""}:
        stray = paths[classes.index("")]
        raise UsageError(f"{stray} lies beside the folders that are the labels: move it into one of them")

    image = np.ascontiguousarray(read_images(folder, paths).transpose(0, 3, 1, 2))  # [N, C, H, W]
    label = None if "" in classes else np.unique(classes, return_inverse=True)[1]  # [N]
    held_out = np.array([name.startswith("test/") for name in names]) if has_split else tenth_by_name(names)
    sha256 = {"images": hashlib.sha256(image.tobytes()).hexdigest()}
    return split(folder.resolve().name, str(folder), sha256, image, label, held_out)


def read_images(folder: Path, paths: list[Path]) -> NDArray[np.uint8]:
    """Image files of one size: [N, H, W, C], C 1 if all of them are grey, else 3."""
    from PIL import Image, ImageOps

    sizes: Counter[tuple[int, int]] = Counter()
    grey, images = True, []
    for path in paths:
        try:
            with Image.open(path) as opened:
                if opened.mode in ("I", "F") or opened.mode.startswith("I;"):  # pillow would clip, not scale, them
                    raise UsageError(f"{path} has more than 8 bits a channel ({opened.mode}): convert it to 8 bits")
                grey = grey and opened.mode in ("1", "L", "LA")
                images.append(ImageOps.exif_transpose(opened).convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UsageError(f"{path} is not a readable image ({type(error).__name__}): replace or remove it") from None
        sizes[images[-1].size] += 1
    if len(sizes) > 1:
        common = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common(3))
        raise UsageError(f"{folder} has images of {len(sizes)} sizes ({common}, ..): resize them all to one size first")
    return np.stack([np.asarray(image) for image in images])[..., : 1 if grey else 3]
