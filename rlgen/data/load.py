"""Data sets: uint8 images [N, C, H, W] in memory, with a held-out part that training never touches.

A known name is looked for under `--data-dir`, else `$RLGEN_DATA`, then in the user's cache, and downloaded into the
cache when it is nowhere. Anything else is a path: an `.npz`, a folder of IDX files or a folder of images. A split is a
property of the data, never of a run's seed, so that runs can be compared.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import http.client
import io
import math
import os
import pickle
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlgen.errors import DiskError, UsageError

TIMEOUT = 20.0  # seconds without a byte before a mirror is given up


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set in memory; images are writable and contiguous, so that torch takes them without a copy."""

    name: str
    train: NDArray[np.uint8]  # [N, C, H, W]
    test: NDArray[np.uint8]  # [M, C, H, W]   held out
    train_label: NDArray[np.int64] | None  # [N]
    test_label: NDArray[np.int64] | None  # [M]
    num_classes: int | None
    source: str  # where it came from
    sha256: dict[str, str]  # by file, of the uncompressed bytes

    def digest(self) -> str:
        """sha256 of all images and labels: data of one name may differ."""
        found = hashlib.sha256()
        for array in (self.train, self.test, self.train_label, self.test_label):
            if array is not None:
                found.update(repr(array.shape).encode())
                found.update(np.ascontiguousarray(array).data)  # no copy: `tobytes` would hold the images twice
        return found.hexdigest()


@dataclass(frozen=True)
class _Known:
    about: str
    shape: str
    sha256: dict[str, str]  # by file, of the uncompressed bytes: mirrors recompress
    urls: tuple[str, ...] = ()  # tried in order; one file a URL, or an archive of them all
    archive: str | None = None


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx_sums(*sums: str) -> dict[str, str]:
    return dict(zip(_IDX, sums, strict=True))


KNOWN = {
    "digits": _Known("hand-written digits, comes with scikit-learn (the default)", "8x8 grey, 1,438 + 359", {}),
    "mnist": _Known(
        "hand-written digits (LeCun et al. 1998)",
        "28x28 grey, 60,000 + 10,000",
        _idx_sums(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/{file}.gz",
            "https://ossci-datasets.s3.amazonaws.com/mnist/{file}.gz",
        ),
    ),
    "fashion-mnist": _Known(
        "ten kinds of clothing (Xiao et al. 2017)",
        "28x28 grey, 60,000 + 10,000",
        _idx_sums(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/{file}.gz",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{file}.gz",
        ),
    ),
    # The sums of the batches inside the archive, as several public repositories list them beside the well-known md5
    # (archive c58f30108f718f92721af3b95e74349a, data_batch_1 c99cafc152244af753f735de768cd75f); not computed by us.
    "cifar10": _Known(
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
    ),
}


def known() -> list[tuple[str, str, str]]:
    """The data sets that have a name: (name, one line about it, size and number of images)."""
    return [(name, entry.about, entry.shape) for name, entry in KNOWN.items()]


def load(name_or_path: str, data_dir: str | None = None) -> ImageData:
    """Read a data set into memory.

    Args:
        name_or_path: a name of `known()`, an `.npz` (`images` uint8 NHWC or NHW, maybe `labels`, `test_images`,
            `test_labels`), a folder of IDX files, or a folder of images (sub-folders are labels, `train` and `test`
            sub-folders the split). A name wins over a folder in the working directory: write `./mnist` for that.
        data_dir: where to look for a known data set, in its folder `data_dir/NAME` and in `data_dir` itself.

    Raises:
        UsageError: an unknown name, missing or malformed files; the line names the file and the fix.
        DiskError: the cache cannot be written.
    """
    if name_or_path == "digits":
        return _load_digits()
    if name_or_path in KNOWN:
        return _load_known(name_or_path, data_dir)
    path = Path(name_or_path).expanduser()
    if os.path.isdir(path):
        idx = _find(path, _IDX)
        if idx or any(path.glob("*-ubyte*")):
            digests = {file: hashlib.sha256(found.content).hexdigest() for file, found in idx.items()}
            return _from_idx(path.resolve().name, str(path), idx, digests)
        return _load_folder(path)
    if os.path.isfile(path):
        if path.suffix == ".npz":
            return _load_npz(path)
        raise UsageError(f"data {name_or_path!r} is not a data set: give an .npz, a folder of images or of IDX files")
    close = difflib.get_close_matches(name_or_path, KNOWN, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UsageError(
        f"data {name_or_path!r} is neither a known data set ({', '.join(KNOWN)}) nor an existing file or folder{hint}"
    )


# Known data sets: find, else download


class _File(NamedTuple):
    path: str  # for messages
    content: bytes  # uncompressed


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rlgen"


def _load_digits() -> ImageData:
    import sklearn  # slow to import, and only this data set needs it
    from sklearn.datasets import load_digits

    image, label = load_digits(return_X_y=True)
    image = np.rint(image * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)  # [N, C, H, W]   0..16 -> 0..255
    held_out = np.zeros(len(image), bool)
    random = np.random.RandomState(0)  # its stream never changes between NumPy versions; default_rng's may
    for digit in range(10):
        index = random.permutation(np.flatnonzero(label == digit))
        held_out[index[: round(len(index) / 5)]] = True
    return _split("digits", f"scikit-learn {sklearn.__version__}", _digest(image), image, label, held_out)


def _load_known(name: str, data_dir: str | None) -> ImageData:
    entry = KNOWN[name]
    given = data_dir or os.environ.get("RLGEN_DATA")
    if given and not Path(given).expanduser().is_dir():
        option = "--data-dir" if data_dir else "$RLGEN_DATA"
        raise UsageError(f"{option} {given!r} is not a directory: name the one that holds {name}/, or leave it out")
    roots = ([Path(given).expanduser()] if given else []) + [_cache()]
    places = [place for root in roots for place in (root / name, root)]
    for place in places:
        files = _collect(place, entry)
        lacking = [file for file in entry.sha256 if file not in files]
        if not lacking:
            break
        if files and place.parent != _cache():  # in the cache a download was cut off: it goes on
            raise UsageError(f"{place} holds {next(iter(files))} but not {', '.join(lacking)}: add what is missing")
    else:
        place = _cache() / name
        _download(name, place, places)
        files = _collect(place, entry)

    digests = {file: hashlib.sha256(found.content).hexdigest() for file, found in files.items()}
    for file, digest in digests.items():  # MNIST and its relatives share their file names
        for other in KNOWN.keys() - {name}:
            if digest in KNOWN[other].sha256.values():
                raise UsageError(
                    f"{files[file].path} is of {other}, not {name}: use --data {other} or another --data-dir"
                )
    source = str(place) if digests == entry.sha256 else f"{place} (not the published bytes)"
    if entry.archive is None:
        return _from_idx(name, source, files, digests)
    image, label = _cifar_batches([files[file] for file in entry.sha256 if file != "test_batch"])
    test, test_label = _cifar_batches([files["test_batch"]])
    return _data(name, source, digests, image, test, label, test_label)


def _collect(place: Path, entry: _Known) -> dict[str, _File]:
    """What a folder holds of a known data set, as files or in its archive."""
    path = place / (entry.archive or "")
    files = _find(place, tuple(entry.sha256))
    if files or entry.archive is None or not os.path.isfile(path):
        return files
    try:
        return {file: _File(f"{path}:{file}", content) for file, content in _members(path.read_bytes(), entry).items()}
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UsageError(f"{path} is not a readable archive ({_reason(error)}): delete it and fetch it again") from None


def _find(place: Path, names: tuple[str, ...]) -> dict[str, _File]:
    """The named files of a folder: compressed or not, and with a dot before `idx` as some copies have."""
    files = {}
    for name in names:
        dotted = name.replace("-idx", ".idx")
        for candidate in (name, f"{name}.gz", dotted, f"{dotted}.gz", f"cifar-10-batches-py/{name}"):
            if os.path.isfile(place / candidate):
                files[name] = _read(place / candidate)
                break
    return files


def _members(archive: bytes, entry: _Known) -> dict[str, bytes]:
    """The wanted files of an archive, by base name; nothing is extracted, so no path in it can lead anywhere."""
    content = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            file = member.name.rpartition("/")[2]
            if file in entry.sha256 and (stream := tar.extractfile(member)) is not None:
                content[file] = stream.read()
    return content


def _read(path: Path) -> _File:
    try:
        content = path.read_bytes()
        # By content, not by name: browsers unpack a .gz without renaming it.
        return _File(str(path), gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read ({_reason(error)}): replace it by a good copy") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    cause = getattr(error, "reason", error)  # urllib wraps what the socket raised
    return (getattr(cause, "strerror", None) or str(cause) or type(error).__name__).replace("\n", " ")


def _download(name: str, folder: Path, places: list[Path]) -> None:
    """Fetch what a folder of the cache lacks; a file appears there whole and verified, or not at all."""
    entry = KNOWN[name]
    while missing := [file for file in entry.sha256 if not os.path.isfile(folder / file)]:
        wanted = missing if entry.archive else missing[:1]
        failures = []
        for template in entry.urls:
            url = template.format(file=wanted[0])
            try:
                body = _get(url, folder)
                content = _members(body, entry) if entry.archive else {wanted[0]: gzip.decompress(body)}
            except (OSError, EOFError, zlib.error, tarfile.TarError, http.client.HTTPException) as error:
                failures.append(f"{url}: {_reason(error)}")
                continue
            digests = {file: hashlib.sha256(content.get(file, b"")).hexdigest() for file in wanted}
            wrong = [file for file in wanted if digests[file] != entry.sha256[file]]
            if not wrong:
                for file in wanted:
                    _write(folder / file, content[file])
                break
            expected, digest = entry.sha256[wrong[0]], digests[wrong[0]]
            failures.append(f"{url}: {wrong[0]} has sha256 {digest[:12]}.. and not {expected[:12]}..")
        else:
            files = entry.archive or ", ".join(f"{file}[.gz]" for file in missing)
            raise UsageError(
                f"{name} is not in {', '.join(map(str, places))} and cannot be downloaded ({'; '.join(failures)}):"
                f" put {files} into {folder}, or name their folder with --data-dir"
            )


def _get(url: str, folder: Path) -> bytes:
    from tqdm import tqdm

    print(f"downloading {url} into {folder}", file=sys.stderr, flush=True)
    request = urllib.request.Request(url, headers={"User-Agent": "rlgen", "Accept-Encoding": "identity"})
    body = bytearray()
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        with tqdm(total=total, unit="B", unit_scale=True, disable=None, leave=False) as bar:  # None: only on a terminal
            while chunk := response.read(1 << 18):
                body += chunk
                bar.update(len(chunk))
    if total is not None and len(body) != total:
        raise OSError(f"cut off after {len(body)} of {total} bytes")
    return bytes(body)


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        try:
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(handle)
            os.chmod(draft, 0o644)  # a temporary file is born private
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as error:
        raise DiskError(f"{path} cannot be written ({_reason(error)}): free space, or set XDG_CACHE_HOME") from None


# Formats


def _idx(file: _File, ndim: int) -> NDArray[np.uint8]:
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


def _from_idx(name: str, source: str, files: dict[str, _File], digests: dict[str, str]) -> ImageData:
    image, test = (_idx(files[file], 3)[:, None] if file in files else None for file in _IDX[::2])  # [N, C, H, W]
    label, test_label = (_idx(files[file], 1) if file in files else None for file in _IDX[1::2])
    if image is None:
        raise UsageError(f"{source} has IDX files but no {_IDX[0]}[.gz]: rename the training images to that")
    return _data(name, source, digests, image, test, label, test_label)


class _ArrayUnpickler(pickle.Unpickler):
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


def _cifar_batches(files: list[_File]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = [], []
    for path, content in files:
        try:
            batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
            image, label = batch[b"data"], np.array(batch[b"labels"], np.int64)
            if image.dtype != np.uint8 or image.shape != (len(label), 3072):
                raise ValueError(f"data is {image.dtype} {image.shape}")
        except Exception as error:  # a malformed pickle can raise anything
            reason = f"{type(error).__name__}: {error}".replace("\n", " ")
            raise UsageError(f"{path} is not a CIFAR-10 batch ({reason}): use the published python version") from None
        images.append(image.reshape(-1, 3, 32, 32))
        labels.append(label)
    return np.concatenate(images), np.concatenate(labels)


_NPZ = ("images", "test_images", "labels", "test_labels")


def _load_npz(path: Path) -> ImageData:
    try:
        content = path.read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            held = {name: np.asarray(arrays[name]) for name in _NPZ if name in arrays}
            if "images" not in held:
                others = ", ".join(arrays.files) or "nothing"
                raise UsageError(f"{path} holds {others}: it needs `images`, uint8 [N, H, W, C] or [N, H, W]")
    except UsageError:
        raise
    except Exception as error:  # a malformed zip can raise anything
        raise UsageError(f"{path} cannot be read as .npz ({_reason(error)}): save it with numpy.savez") from None
    for name, array in held.items():
        if name.endswith("images"):
            held[name] = _channels_first(f"{path}: {name}", array)
        elif array.dtype.kind not in "iu" or array.ndim != 1:
            raise UsageError(f"{path}: {name} is {array.dtype} {list(array.shape)}: it needs integers [N]")
    test, label, test_label = (held.get(name) for name in _NPZ[1:])
    sha256 = {path.name: hashlib.sha256(content).hexdigest()}
    return _data(path.stem, str(path), sha256, held["images"], test, label, test_label)


def _channels_first(where: str, image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8:
        raise UsageError(f"{where} is {image.dtype}: it needs uint8 in 0..255, (255 * images).round().astype('uint8')")
    if image.ndim == 3:
        image = image[..., None]
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise UsageError(f"{where} has shape {list(image.shape)}: it needs [N, H, W, C] with C 1, 3 or 4, or [N, H, W]")
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2))


_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def _load_folder(folder: Path) -> ImageData:
    from PIL import Image, ImageOps

    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    paths = [path for path in files if path.suffix.lower() in _SUFFIXES]
    names = [path.relative_to(folder).as_posix() for path in paths]
    if not names:
        formats = " ".join(sorted(_SUFFIXES))
        raise UsageError(f"{folder} holds no images but {len(files)} other files: put some there, of {formats}")
    split = {name.split("/")[0] for name in names} == {"train", "test"}
    depth = 1 if split else 0  # of the folders that are the labels
    classes = [name.split("/")[depth] if name.count("/") > depth else "" for name in names]
    if "" in classes and set(classes) != {""}:
        stray = paths[classes.index("")]
        raise UsageError(f"{stray} lies beside the folders that are the labels: move it into one of them")

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

    image = np.stack([np.asarray(image) for image in images])[..., : 1 if grey else 3]  # [N, H, W, C]
    label = None if "" in classes else np.unique(classes, return_inverse=True)[1]  # [N]
    if split:
        held_out = np.array([name.startswith("test/") for name in names])
    else:  # by name: more files move none from one side to the other
        score = np.array([int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in names])
        held_out = score <= max(0.1, score.min())
    image = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    return _split(folder.resolve().name, str(folder), _digest(image), image, label, held_out)


# Splits


def _digest(image: NDArray[np.uint8]) -> dict[str, str]:
    return {"images": hashlib.sha256(image.tobytes()).hexdigest()}


def _split(
    name: str,
    source: str,
    sha256: dict[str, str],
    image: NDArray[Any],
    label: NDArray[Any] | None,
    held_out: NDArray[Any],
) -> ImageData:
    train_label, test_label = (None, None) if label is None else (label[~held_out], label[held_out])
    return _data(name, source, sha256, image[~held_out], image[held_out], train_label, test_label)


def _data(
    name: str,
    source: str,
    sha256: dict[str, str],
    image: NDArray[Any],
    test: NDArray[Any] | None,
    label: NDArray[Any] | None,
    test_label: NDArray[Any] | None,
) -> ImageData:
    """Check that the parts fit together; without test images, a fixed random tenth is held out."""
    for part, images, labels in (("training", image, label), ("test", test, test_label)):
        if labels is not None and images is not None and len(labels) != len(images):
            raise UsageError(f"{source}: {len(images)} {part} images but {len(labels)} labels: they must pair up")
        if labels is not None and len(labels) and labels.min() < 0:
            raise UsageError(f"{source}: {part} label {labels.min()} is negative: labels count from 0")
    if test is None:
        if len(image) >= 2:
            held_out = np.zeros(len(image), bool)
            held_out[np.random.RandomState(0).permutation(len(image))[: max(1, len(image) // 10)]] = True
            return _split(name, source, sha256, image, label, held_out)
        test = image[:0]
    if not len(image) or not len(test):
        raise UsageError(f"{source}: {len(image)} training and {len(test)} test images: at least one of each is needed")
    if image.shape[1:] != test.shape[1:]:
        raise UsageError(f"{source}: training images are {image.shape[1:]}, test images {test.shape[1:]} [C, H, W]")
    train_label, test_label = (None if one is None else one.astype(np.int64) for one in (label, test_label))
    parts = [part for part in (train_label, test_label) if part is not None]
    num_classes = 1 + int(max(part.max() for part in parts)) if parts else None
    return ImageData(name, image, test, train_label, test_label, num_classes, source, sha256)
