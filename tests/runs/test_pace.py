import pytest
from tiny import assert_equal, comparable, tiny

from rlgen import experiment
from rlgen.errors import InterruptedRunError
from rlgen.runs import checkpoint, pace
from rlgen.runs.pace import Pace
from rlgen.runs.run import Run

OPTIONS = {"num_envs": 1, "vectorization": "native", "eval_episodes": 1, "buffer_size": 400, "keep": 1000}
OPTIONS |= {"steps": 600, "checkpoint_every": 50, "eval_every": 300, "log_every": 90}


@pytest.fixture
def one(clock, monkeypatch):
    monkeypatch.setattr(pace, "SHORT", 1.0)
    return Pace()


def save(one, clock, seconds):
    begin = clock.seconds
    clock.seconds += seconds
    one.saved(begin)


def test_the_next_checkpoint_waits_for_twenty_times_what_the_last_one_took(one, clock, capsys):
    assert one.due(True, None) and not one.due(False, None)
    save(one, clock, 3)
    clock.seconds += 59
    assert not one.due(True, None)  # a step of the period was passed
    assert not one.due(False, None)
    clock.seconds += 2
    assert one.due(False, None), "it is made up for"
    save(one, clock, 1)
    assert not one.due(False, None)
    clock.seconds += 21
    assert not one.due(False, None), "none was waiting"
    assert one.due(True, None)
    assert capsys.readouterr().err == (
        "a checkpoint took 3 s, so the next one waits for 1 min: saving takes at most 5 % of the time\n"
    )


def test_it_is_said_once(one, clock, capsys):
    for _ in range(3):
        save(one, clock, 3)
        assert not one.due(True, None)
    assert capsys.readouterr().err.count("saving takes at most") == 1


def test_checkpoints_that_take_no_second_are_as_often_as_asked_for(one, clock):
    save(one, clock, 0.9)
    assert one.due(True, None)


def test_one_that_is_due_by_the_clock_waits_too(one, clock):
    clock.seconds += 61
    assert one.due(False, 1) and not one.due(False, 2)
    save(one, clock, 6)
    clock.seconds += 61
    assert not one.due(False, 1)
    clock.seconds += 60
    assert one.due(False, 1)


def test_what_is_saved_for_another_reason_counts_and_ends_the_waiting(one, clock):
    save(one, clock, 2)
    assert not one.due(True, None)
    save(one, clock, 2)  # a better evaluation
    clock.seconds += 41
    assert not one.due(False, None)


def train(folder, name, **more):
    return experiment.start(tiny("dqn", folder, name=name, **OPTIONS | more), quiet=True)


def test_a_run_whose_checkpoints_wait_learns_the_same_and_is_saved_at_its_end(tmp_path, monkeypatch, capsys):
    whole = train(tmp_path, "whole")
    monkeypatch.setattr(pace, "SHORT", 0.0)
    monkeypatch.setattr(pace, "SHARE", 1e-9)
    waited = train(tmp_path, "waited")
    assert capsys.readouterr().err.count("saving takes at most") == 1
    assert comparable(waited.path) == comparable(whole.path)
    few, many = checkpoint.steps(waited.checkpoints), checkpoint.steps(whole.checkpoints)
    assert len(many) == 12 and len(few) <= 4 and few[-1] == many[-1]
    for name in ("learner", "buffer", "source", "rng"):
        assert_equal(waited.load()[name], whole.load()[name], name)


def test_a_signal_saves_however_long_that_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "SHORT", 0.0)
    monkeypatch.setattr(pace, "SHARE", 1e-9)
    due = Run.due

    def stop_at(run, what, last_step):
        if run.step >= 120:
            run.interrupt(15)
        return due(run, what, last_step)

    monkeypatch.setattr(Run, "due", stop_at)
    with pytest.raises(InterruptedRunError):
        train(tmp_path, "mine")
    assert checkpoint.steps(tmp_path / "mine/checkpoints")[-1] >= 120
