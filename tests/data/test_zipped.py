"""A zip archive of images: as the folder in it; nothing leaves it, and nothing in it grows without a limit."""

import io
import shutil
import stat
import struct
import tracemalloc
import zipfile

import pytest
from image_files import check, error, save_images
from PIL import Image

from rlgen.data.load import load


@pytest.fixture
def photos(tmp_path):
    for part, num in (("train", 6), ("val", 2)):
        for seed, label in enumerate(("cat", "dog")):
            save_images(tmp_path / "photos" / part / label, num, seed=seed)
    save_images(tmp_path / "photos" / "__MACOSX", 1)
    save_images(tmp_path / "photos" / "train" / ".ipynb_checkpoints", 1)
    return tmp_path / "photos"


def pack(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def png(value=7, size=(6, 5)):
    stream = io.BytesIO()
    Image.new("L", size, value).save(stream, "png")
    return stream.getvalue()


def test_an_archive_is_read_as_its_folder(tmp_path, photos):
    folder = check(load(str(photos)))
    for root in (photos, photos.parent):  # with and without the folder itself
        path = shutil.make_archive(str(tmp_path / "x" / root.name), "zip", root)
        shutil.move(path, tmp_path / "photos.zip")
        data = check(load(str(tmp_path / "photos.zip")))
        assert data.name == "photos" and data.digest() == folder.digest() and data.num_classes == 2
        shutil.rmtree(tmp_path / "x")


OUTSIDE = ("../../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil\\x.png")


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_cannot_leave_the_archive(tmp_path, name):
    (tmp_path / "in").mkdir()
    path = pack(tmp_path / "in" / "x.zip", {"a/b/1.png": png(1), "a/b/2.png": png(2), "a/b/3.png": png(3), name: png()})
    before = sorted(tmp_path.rglob("*"))
    if ".." in name:  # as if it were not there
        assert len(load(str(path)).train) == 2
    else:  # a folder in the archive like any other
        assert len(load(str(path)).train) == 3
    assert sorted(tmp_path.rglob("*")) == before


def test_names_of_windows_are_folders_too(tmp_path):
    files = {f"{part}\\{label}\\{i}.png": png(i) for part in ("train", "test") for label in "ab" for i in range(2)}
    data = load(str(pack(tmp_path / "x.zip", files)))
    assert (len(data.train), len(data.test), data.num_classes) == (4, 4, 2)


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    save_images(tmp_path / "secret", 1)
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, str(tmp_path / "secret" / "000.png"))
        archive.writestr("a.png", png())
    assert "a file that is no readable image (link.png)" in error(tmp_path / "x.zip")


def test_all_bad_files_of_an_archive_are_named_at_once(tmp_path):
    files = {"a.png": png(), "b.png": b"no image", "c.png": png()[:-20], "d.png": b""}
    assert "2 files that are no readable image (b.png, d.png): replace or remove them" in error(
        pack(tmp_path / "x.zip", files)
    )
    content = bytearray(pack(tmp_path / "y.zip", {"a.png": png(), "b.png": png()}, zipfile.ZIP_STORED).read_bytes())
    content[content.index(b"IDAT") + 8] ^= 255
    (tmp_path / "y.zip").write_bytes(content)
    assert "a file that is damaged in the archive (a.png): make a new archive without it" in error(tmp_path / "y.zip")
    pack(tmp_path / "z.zip", {"a.png": png(), "b.png": png()}, zipfile.ZIP_LZMA)
    assert "compressed in an unusual way (a.png, b.png): unpack them, and give the folder" in error(tmp_path / "z.zip")
    content = bytearray(pack(tmp_path / "e.zip", {"a.png": png()}).read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # in the list, as a password is said
    (tmp_path / "e.zip").write_bytes(content)
    assert "a file that is encrypted (a.png): unpack it, and give the folder" in error(tmp_path / "e.zip")


def test_what_is_no_archive_or_has_no_images_is_one_line(tmp_path):
    (tmp_path / "x.zip").write_text("no archive")
    assert "x.zip cannot be read as .zip" in error(tmp_path / "x.zip")
    pack(tmp_path / "x.zip", {"a.npy": b"x", "b.csv": b"x"})
    assert "x.zip holds no images but 2 other files (1 .npy, 1 .csv)" in error(tmp_path / "x.zip")
    pack(tmp_path / "x.zip", {})
    assert "x.zip holds no images but 0 other files" in error(tmp_path / "x.zip")


def test_a_small_archive_of_much_costs_no_memory(tmp_path):
    zeros = pack(tmp_path / "x.zip", {"a.png": bytes(50_000_000), "b.png": png()})
    large = pack(tmp_path / "y.zip", {f"{i}.png": png(0, (4000, 3000)) for i in range(3)})
    many = pack(tmp_path / "z.zip", {f"{i}.txt": b"" for i in range(2000)}, zipfile.ZIP_STORED)
    assert zeros.stat().st_size < 100_000 and large.stat().st_size < 200_000
    tracemalloc.start()
    try:
        assert "x.zip: a.png needs 47.7 MiB of memory" in error(zeros, max_memory="10MB")
        assert "y.zip: 3 images of 4000x3000 needs" in error(large, max_memory="10MB")
        assert "z.zip: the list of its files needs 1.9 MiB" in error(many, max_memory="1MB")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_a_size_that_lies_is_what_is_read_at_most(tmp_path):
    content = bytearray(pack(tmp_path / "x.zip", {"a.png": bytes(50_000_000), "b.png": png()}).read_bytes())
    place = content.index(b"PK\1\2") + 24  # the size in the list
    assert struct.unpack_from("<I", content, place) == (50_000_000,)
    struct.pack_into("<I", content, place, 1000)
    (tmp_path / "x.zip").write_bytes(content)
    tracemalloc.start()
    try:
        assert "damaged in the archive (a.png)" in error(tmp_path / "x.zip", max_memory="10MB")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
