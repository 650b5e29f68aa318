"""How much must be read to follow one turn of the loop with one eager step of DQN."""

import inspect
from collections import Counter

import pytest
from tracer import count_lines, read_turn

MAX_LINES = 250  # of code
MAX_MOVES = 25  # from file to file


@pytest.fixture(scope="module")
def reading():
    return read_turn()


def test_the_turn_is_one_of_four_environment_steps_and_one_update(reading):
    agent = Counter(function.rpartition(".")[2] for path, function in reading.entries if path.startswith("agents/"))
    assert (agent["act"], agent["update"]) == (4, 1), reading.table()
    entered = {function for _, function in reading.entries}
    assert "EnvSource.fill" in entered, reading.table()
    assert not {"EnvSource.evaluate", "RunLog.write", "Run.save", "soft_update"} & entered, reading.table()


def test_a_turn_is_short(reading):
    assert reading.lines <= MAX_LINES, "\n" + reading.table()


@pytest.mark.xfail(strict=True, reason="not reached: every part that is a file of its own is a move")
def test_a_turn_stays_in_few_files(reading):
    assert reading.moves <= MAX_MOVES, "\n" + reading.table()


def test_lines_are_counted_as_the_tracer_says(tmp_path, monkeypatch):
    path = tmp_path / "rlgen" / "toy.py"
    path.parent.mkdir()
    path.write_text(TOY)
    monkeypatch.setattr("tracer.ROOT", tmp_path)
    names = {}
    exec(compile(TOY, str(path), "exec"), names)
    first, second, small = (inspect.unwrap(names[name]).__code__ for name in ("first", "second", "small"))
    counted = count_lines(str(path), [first])
    assert (counted.path, counted.district, counted.functions) == ("rlgen/toy.py", "toy", ("first",))
    assert (counted.code, counted.span) == (8, 14)
    assert count_lines(str(path), [second]).code == 2
    assert count_lines(str(path), [small]).code == 1
    assert count_lines(str(path), [first, second, small]).code == 11


TOY = '''
from functools import cache


@cache  # counts
def first(
    x,
):
    """One line.

    Three more.
    """
    # a comment

    def inner():
        return """not
        a docstring"""
    return inner


def second():
    return [x for x in range(3)]


small = lambda: 1
'''
