"""The works."""

import pytest

from rlgen.bench.ours import OURS
from rlgen.bench.works import WORKS, configure


@pytest.mark.parametrize("name", WORKS)
def test_every_work_is_a_command_that_train_takes(name):
    assert configure(name)["threads"] == 1
    assert WORKS[name].kind in OURS
