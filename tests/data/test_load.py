from image_files import error


def test_a_misspelt_name_gets_a_suggestion():
    assert "did you mean 'fashion-mnist'?" in error("fashon-mnist")
    assert "'a/b'" in error("a/b") and "did you mean" not in error("a/b")
    assert "neither" in error("x" * 5000)


def test_a_single_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    assert "give an .npz" in error(tmp_path / "x.bin")
