"""An environment's own exception keeps its message and its place."""

import json

from rlgen.envs.raised import LONGEST, place, said


def caught(function, *args):
    try:
        function(*args)
    except Exception as error:
        return error


def test_the_place_is_in_the_environments_own_code_and_not_in_a_library():
    error = caught(json.loads, "{")
    line = caught.__code__.co_firstlineno + 2
    assert said(error) == f"JSONDecodeError: {error} ({__file__}:{line})"


def test_a_message_of_many_lines_is_one_and_not_endless():
    assert said(ValueError("a\n  b\n")) == "ValueError: a b" and said(KeyError()) == "KeyError"
    assert len(said(ValueError("x" * 9_999))) < LONGEST + 20


def test_the_place_of_a_traceback_that_came_as_text():
    trace = 'Traceback\n  File "/a/env.py", line 7, in step\n    x\n  File "<string>", line 2, in f\nValueError: no'
    assert said(ValueError("no"), trace) == "ValueError: no (/a/env.py:7)"
    assert place([("<string>", 3)]) == "<string>:3", "nothing better"
