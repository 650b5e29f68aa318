"""`rlgen bench --scale` at a tiny size."""

import json

from rlgen.bench import scaling
from rlgen.bench.scaling import SCALES
from rlgen.speed import recorded


def test_scaling_is_a_table_a_document_and_a_picture(rlgen, tmp_path, monkeypatch):
    monkeypatch.setitem(SCALES, "envs", lambda *args: scaling.envs(*args, (1, 2)))
    monkeypatch.setitem(SCALES, "fill", lambda *args: scaling.fill(*args, (100,)))
    monkeypatch.setitem(SCALES, "batch", lambda *args: scaling.batch(*args, (4, 8)))
    path = tmp_path / "scale.png"
    code, out, _ = rlgen("--scale", "--only", "envs,fill,batch", "--out", str(path), "--json")
    points = json.loads(out)["scale"]
    assert code == 0 and path.read_bytes().startswith(b"\x89PNG")
    assert [(point["axis"], point["value"]) for point in points] == [
        ("envs", 1), ("envs", 2), ("batch", 4), ("batch", 8), ("fill", 100),
    ]  # fmt: skip
    assert all(point["bytes"] > 0 and min(point["costs"].values()) > 0 for point in points)
    code, out, _ = rlgen("--scale", "--only", "fill")
    assert code == 0 and "us per insert" in out


def test_seeds_are_whole_runs_whose_steps_are_recorded(monkeypatch):
    min_updates, during = recorded.MIN_UPDATES_LEFT, []
    start_seeds = scaling.experiment.start_seeds

    def spied(*args, **options):
        during.append(recorded.MIN_UPDATES_LEFT)
        return start_seeds(*args, **options)

    monkeypatch.setattr(scaling.experiment, "start_seeds", spied)
    monkeypatch.setattr(scaling, "SEED_STEPS", 20)
    (point,) = scaling.seeds({"device": "cpu", "threads": 1}, 0.0, (2,))
    assert (point["axis"], point["value"], set(point["costs"])) == ("seeds", 2, {"us per env step"})
    assert point["bytes"] > 0 and min(point["costs"].values()) > 0
    assert during == [0] * 4 and min_updates == recorded.MIN_UPDATES_LEFT
