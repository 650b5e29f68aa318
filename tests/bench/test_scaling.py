"""`rlgen bench --scale` at a tiny size."""

import json
from contextlib import ExitStack

import pytest

from rlgen.bench import scaling
from rlgen.bench.ours import Trainer
from rlgen.bench.scaling import SCALES
from rlgen.speed import stacked
from rlgen.speed.stacked import Together


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
    assert all(set(point["cpu"]) == set(point["costs"]) and min(point["cpu"].values()) > 0 for point in points)
    code, out, _ = rlgen("--scale", "--only", "fill")
    assert code == 0 and "us per insert" in out


def test_seeds_are_timed_in_one_window_that_begins_and_ends_for_all_of_them_at_once(monkeypatch):
    events, stack, run = [], stacked.stack, Together.run
    step = Trainer.step

    def spied_step(trainer):
        ticks = step(trainer)
        events.append((trainer.config["seed"], trainer.learner.num_updates, ticks))
        return ticks

    def spied_run(together, bodies):
        events.append("window")
        return run(together, bodies)

    monkeypatch.setattr(Trainer, "step", spied_step)
    monkeypatch.setattr(Together, "run", spied_run)
    monkeypatch.setattr(stacked, "stack", lambda learners: events.append("stacked") or stack(learners))
    with ExitStack() as closing:
        count, took = scaling.time_seeds({"device": "cpu", "threads": 1}, 0.2, 3, closing)
    second = len(events) - events[::-1].index("window")
    warm_up, window = events[:second], events[second:]
    assert warm_up.count("window") == 2 and warm_up.count("stacked") == 1 and "stacked" not in window
    by_seed = [[event for event in window if event[0] == seed] for seed in range(3)]
    assert len({len(steps) for steps in by_seed}) == 1
    assert all(steps[0][1] == scaling.WARM_UPDATES + 1 for steps in by_seed)
    assert count == sum(ticks for _, _, ticks in window) and took.wall >= 0.2 and took.cpu > 0


def test_the_axis_of_seeds_has_costs_of_one_env_step():
    (point,) = scaling.seeds({"device": "cpu", "threads": 1}, 0.0, (2,))
    assert (point["axis"], point["value"]) == ("seeds", 2) and point["bytes"] > 0
    assert set(point["costs"]) == set(point["cpu"]) == {"us per env step"}


def test_what_a_seed_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        scaling.finished([1, ZeroDivisionError()])


def test_a_batch_is_drawn_where_its_drawing_is_timed_though_it_is_lazy_on_a_gpu(drawn):
    list(scaling.fill({"device": "cpu"}, 0.0, (100,)))
    assert drawn == [128]
