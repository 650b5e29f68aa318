"""The works."""

import pytest

from rlgen.bench import bench
from rlgen.bench.ours import OURS
from rlgen.bench.timing import Timed
from rlgen.bench.works import WORKS, configure


@pytest.mark.parametrize("name", WORKS)
def test_every_work_is_a_command_that_train_takes(name):
    assert configure(name)["threads"] == 1
    assert WORKS[name].kind in OURS


def test_a_whole_run_is_timed_only_where_it_is_asked_for(monkeypatch):
    class Asked(Exception):
        pass

    def stop(name, *args):
        timed.append(name)
        if name == "default-run":
            raise Asked
        return Timed([], {}, {})

    timed: list[str] = []
    monkeypatch.setattr(bench, "time_work", stop)
    bench.bench(device="cpu")
    assert "default-run" not in timed and len(timed) == len(WORKS) - 1
    with pytest.raises(Asked):
        bench.bench(only="default-run", device="cpu")
