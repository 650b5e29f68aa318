import subprocess
import sys

from rlgen.data.known import known


def test_known_lists_every_name_without_reading_anything():
    assert [name for name, _, _ in known()] == ["digits", "mnist", "fashion-mnist", "cifar10"]
    assert all(about and shape for _, about, shape in known())


def test_the_list_needs_no_numpy():
    code = "import sys, rlgen.data.known; sys.exit('numpy' in sys.modules)"  # completion reads it at every press of Tab
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
