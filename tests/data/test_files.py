from image_files import cifar_archive, cifar_files, error, idx_files, write

from rlgen.data.load import load


def test_gz_is_known_by_content_and_dotted_names_are_found(tmp_path):
    files = idx_files()
    write(tmp_path, {f"{file.replace('-idx', '.idx')}.gz": content for file, content in files.items()})
    assert len(load("mnist", str(tmp_path)).train) == 12


def test_a_broken_local_archive_is_one_line(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(cifar_archive(cifar_files())[:3000])
    assert f"{path} is not a readable archive" in error("cifar10", tmp_path)
