"""`.ci/gpu`, as far as it can be tried without a GPU."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".ci" / "gpu"

TOY = """
import sys, time
LIMITS = {"well": 60, "fails": 60, "hangs": 3, "last": 60}
IS_TRIAL, ROW = False, '{"part": '

def has_gpu():
    return True

def well():
    import rlgen.errors
    print("a line for the log")
    print('{"part": "well", "us": 1.5}')

def fails():
    raise ValueError("out of order")

def hangs():
    print('{"part": "hangs", "us": 2.5}')
    time.sleep(600)

def last():
    print('{"part": "last", "error": "one case of two"}')
"""


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the parts."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "checks", raising=False)
    return importlib.import_module("checks")


@pytest.fixture
def checks_on_cpu(checks: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What of the parts needs no GPU but asks for it."""
    monkeypatch.setattr(checks, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return checks


def check(folder: Path, *argv: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(folder), *argv], capture_output=True, text=True, env=os.environ | env, cwd=folder.anchor
    )


def test_it_fits_its_time_and_every_part_is_a_function(checks: Any) -> None:
    assert sum(checks.LIMITS.values()) < 475 - len(checks.LIMITS), "a part takes a second to begin and to end"
    for name in checks.LIMITS:
        part = getattr(checks, name)
        assert inspect.isfunction(part) and part.__doc__ and not inspect.signature(part).parameters, name


def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path) -> None:
    ended = check(FOLDER, str(tmp_path / "out"), CUDA_VISIBLE_DEVICES="")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "torch finds no CUDA device: nothing to check here\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "only"), [((), ""), (("--long",), ""), (("--long", "out", "sarsa"), ""), (("out",), "micro,nano")]
)
def test_bad_usage_is_one_line_too(argv: tuple[str, ...], only: str) -> None:
    ended = check(FOLDER, *argv, CHECK_ONLY=only)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1


def test_a_part_that_fails_or_hangs_hides_nothing(tmp_path: Path) -> None:
    folder = tmp_path / ".ci" / "gpu"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "checks.py").write_text(TOY)
    (tmp_path / "rlgen").symlink_to(ROOT / "rlgen")  # found beside .ci, installed or not
    ended = check(folder, str(tmp_path / "out"))
    assert (ended.returncode, ended.stderr) == (1, "")

    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(row["part"], row.get("us"), row.get("rc"), row.get("problems")) for row in rows] == [
        ("well", 1.5, None, None),
        ("well", None, 0, 0),
        ("fails", None, 1, 0),
        ("hangs", 2.5, None, None),
        ("hangs", None, "timeout", 0),
        ("last", None, None, None),
        ("last", None, 0, 1),
    ]
    assert rows[2]["last"] == "ValueError: out of order"
    assert (tmp_path / "out" / "results.jsonl").read_text() == ended.stdout
    assert (tmp_path / "out" / "well.log").read_text().startswith("a line for the log\n")


def test_one_part_alone(tmp_path: Path) -> None:
    folder = tmp_path / ".ci" / "gpu"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "checks.py").write_text(TOY)
    ended = check(folder, str(tmp_path / "out"), CHECK_ONLY="last")
    assert [json.loads(line)["part"] for line in ended.stdout.splitlines()] == ["last", "last"]


def test_what_it_imports_exists() -> None:
    """It imports inside functions that no test here can call."""
    for node in ast.walk(ast.parse((FOLDER / "checks.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rlgen"):
            for alias in node.names:
                module = importlib.import_module(str(node.module))
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("name", ["dqn-64env", "ppo-64env", "vae-mlp", "gan-r1"])
def test_a_work_takes_steps(name: str, checks_on_cpu: Any) -> None:
    with ExitStack() as stack:
        learner, step, num_samples = checks_on_cpu.work_step(name, "float32", stack)
        before = learner.num_updates
        step()
        step()
    assert learner.num_updates == before + 2
    assert num_samples in (64, 128)
    assert checks_on_cpu.refused(learner) == {}


def test_images_are_learned_from_a_ring_of_single_frames(checks_on_cpu: Any) -> None:
    learner, step, _ = checks_on_cpu.image_step("float32", size=2)
    step()
    assert learner.num_updates == 1


def test_seeds_are_timed_alone_and_together(checks_on_cpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_on_cpu, "WARM_UPDATES", 2)
    for num in (1, 2):
        us, refused = checks_on_cpu.time_seeds("vae-mlp", num, 2)
        assert us > 0 and refused == {}


def test_turns_and_environments_are_timed(checks_on_cpu: Any) -> None:
    from rlgen import experiment

    config = checks_on_cpu.configure("dqn", learning_starts=8, num_envs=2)
    learner, source, buffer = experiment.build(config)
    rates = checks_on_cpu.train(learner, source, buffer, 0.05)
    assert rates["steps_per_s"] > 0 and rates["updates_per_s"] > 0
    alone = checks_on_cpu.time_envs(source, 0.01)
    assert alone["envs_alone_steps_per_s"] > 0 and alone["cores_used"] > 0 and alone["threads"] >= 1
    source.close()


def test_a_case_that_fails_is_a_row_and_rows_are_strict_json(checks: Any, capsys: pytest.CaptureFixture) -> None:
    with checks.case("micro", work="first"):
        raise ValueError("does not fit")
    checks.say("micro", work="second", us=1 / 3, loss=float("nan"))
    rows = [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        {"part": "micro", "work": "first", "error": "ValueError: does not fit"},
        {"part": "micro", "work": "second", "us": 0.333, "loss": "nan"},
    ]


def test_tests_are_looked_for_where_they_are(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a package is missing that others need, theirs must not hide what a GPU does."""
    called = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        subprocess, "run", lambda words, **more: called.append(words) or subprocess.CompletedProcess(words, 0)
    )
    with pytest.raises(SystemExit):
        checks.tests()
    files = {word for word in called[0] if word.endswith(".py")}
    marked = {"tests/speed/test_recorded.py", "tests/speed/test_device.py", "tests/core/test_algorithms.py"}
    assert marked <= files and "tests/core/test_frames.py" not in files


LONG = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *args: sys.exit(143))
print("begun", flush=True)
time.sleep({seconds})
sys.exit({code})
"""


@pytest.mark.parametrize(
    ("seconds", "code", "finished", "goes_on"), [(60, 0, False, True), (0, 0, True, False), (0, 5, False, False)]
)
def test_a_long_run_is_stopped_in_time_and_goes_on_at_the_next_call(
    seconds: int, code: int, finished: bool, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    long = importlib.import_module("long")
    row = long.go_on(tmp_path, [sys.executable, "-c", LONG.format(seconds=seconds, code=code)], 2.0)
    assert (row["finished"], row["to_be_continued"], row["rc"]) == (finished, goes_on, 143 if goes_on else code)
    assert (tmp_path / "long.log").read_text() == "begun\n"


@pytest.mark.parametrize("algo", ["ppo", "dqn", "rainbow", "r3gan"])
def test_a_long_run_s_options_are_those_of_the_program(algo: str, checks: Any) -> None:
    from rlgen.options.config import resolve

    long = importlib.import_module("long")
    for more in ({}, long.BRIEF[algo]):
        options = {name.replace("-", "_"): value for name, value in (long.RUNS[algo] | more).items()}
        if "hidden" in options:
            options["hidden"] = (options["hidden"],)
        config = resolve(algo, options | {"no_preset": True}).config
        assert config.get("rollout_steps", 0) % config["batch_size"] == 0
    assert long.RUNS.keys() == long.BRIEF.keys()


def test_every_way_of_adam_that_is_timed_is_adam(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def wait_stream(self, other: Any) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    adam, found = checks.adam, []
    for take in adam.WAYS.values():
        torch.manual_seed(0)
        state = adam.make_state("cpu")
        for _ in range(2):
            state.count.add_(1)
            take(state)
        found.append(torch.cat([each.flatten() for each in state.params]))
    assert all(torch.allclose(each, found[0], atol=1e-6) for each in found)
