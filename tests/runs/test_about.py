import platform
import subprocess
import sys

import torch

from rlgen import __version__
from rlgen.runs import about


def test_provenance_names_versions_commit_and_hardware():
    found = about.provenance()
    assert list(found) == ["rlgen_version", "git_commit", "versions", "hardware"]
    assert found["rlgen_version"] == __version__
    assert found["versions"].keys() == {"python", "torch", "gymnasium", "numpy", "wandb", "ale-py"}
    assert found["versions"]["python"] == platform.python_version()
    assert torch.__version__.startswith(found["versions"]["torch"])
    assert found["hardware"].keys() == {"host", "platform", "cpu_cores", "gpus"}


def test_a_package_that_is_missing_has_no_version():
    assert about.version("no-such-package") is None


def test_the_commit_says_whether_the_tree_was_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(about, "__file__", str(tmp_path / "rlgen" / "runs" / "about.py"))
    assert about.git_commit() is None, "no repository"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@example.org"]

    def do(*words):
        subprocess.run([*git, *words], check=True, capture_output=True)

    do("init")
    (tmp_path / "file").write_text("one")
    do("add", "file")
    do("commit", "-m", "one")
    commit = about.git_commit()
    assert commit and len(commit) == 40
    (tmp_path / "file").write_text("two")
    assert about.git_commit() == f"{commit}-dirty"
    monkeypatch.setattr(about, "__file__", str(tmp_path / "venv" / "rlgen" / "runs" / "about.py"))
    assert about.git_commit() is None, "somebody else's repository around an installed copy"


def test_importing_it_imports_no_torch():
    code = "import sys, rlgen.runs.about; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
