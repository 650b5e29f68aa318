"""Recorded steps as machine code: the same numbers, from a cache that is safe to load from; and when it is chosen."""

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from line import Line, batches, params
from tiny import tiny

from rlgen import experiment
from rlgen.commands import doctor
from rlgen.core.step import Eager
from rlgen.errors import InterruptedRunError
from rlgen.runs import checkpoint
from rlgen.speed import compile_program, compiled, machine_code, recorded
from rlgen.speed.compile_program import MOST_BYTES, evict
from rlgen.speed.compiled import CompiledRecording, FillingRecording
from rlgen.speed.fused import FusedRecording
from rlgen.speed.machine_code import CannotCompileError, Program
from rlgen.speed.recorded import Recorded
from rlgen.speed.recording import ListRecording

needs_compiler = pytest.mark.skipif(machine_code.compiler() is None, reason="there is no C++ compiler")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLGEN_COMPILED", str(tmp_path / "compiled"))
    monkeypatch.setattr(machine_code, "compiler", lambda: "g++")
    return tmp_path / "compiled"


@pytest.fixture
def stand_in(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A compiler that takes no time: the list of operations itself. Keys of what was compiled, and how."""
    keys: list[str] = []
    functions: dict[str, Any] = {}
    init = Program.__init__

    def remember(self: Any, recorded: Any, tensors: Any, work: str) -> None:
        init(self, recorded, tensors, work)
        functions[self.key] = recorded

    def compile_it(self: Any, how: str = "") -> None:
        keys.append(self.key + how)
        (self.folder / f"{self.key}.json").write_text("{}")
        machine_code.note_work(self.folder, self.work, self.key)

    monkeypatch.setattr(Program, "__init__", remember)
    monkeypatch.setattr(Program, "load", lambda self: functions[self.key] if self.is_there() else None)
    monkeypatch.setattr(Program, "compile", compile_it)
    monkeypatch.setattr(Program, "compile_aside", lambda self: compile_it(self, " aside"))
    return keys


def line(kind: Any = CompiledRecording, verify: int = 0) -> Line:
    torch.manual_seed(0)
    learner = Line()
    learner.executor = Recorded(verify, partial(kind, work="line"), always=True)
    return learner


def train(learner: Line, num: int = 10) -> None:
    for _, batch in zip(range(num), batches(), strict=False):
        learner.minimize(learner.loss, batch, learner.optimizer, max_grad_norm=0.5)


@needs_compiler
def test_a_compiled_step_is_the_eager_one_and_is_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLGEN_COMPILED", str(tmp_path / "compiled"))
    one = line(verify=9)
    eager = copy.deepcopy(one)
    eager.optimizer = torch.optim.Adam(eager.parameters(), lr=1e-2, fused=True)
    eager.executor = Eager()
    train(eager)
    train(one)
    assert capsys.readouterr().err.count("compiling") == 1
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(params(one), params(eager), strict=True))
    place = tmp_path / "compiled"
    assert sorted(path.suffix for path in place.iterdir()) == ["", ".json", ".pt2", ".work"]  # the first is the lock
    assert machine_code.is_filled("line") and place.stat().st_mode & 0o777 == 0o700

    again = line()
    train(again)
    assert not capsys.readouterr().err
    assert all(torch.equal(a, b) for a, b in zip(params(again), params(one), strict=True))

    package = next(place.glob("*.pt2"))
    content = bytearray(package.read_bytes())
    content[len(content) // 2] ^= 1
    package.write_bytes(content)
    monkeypatch.setattr(Program, "compile", lambda self: None)
    train(line())
    assert "the cache does not keep it" in capsys.readouterr().err and not package.exists()


def test_a_compiler_that_fails_is_one_line_and_the_step_is_recorded(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(self: Program, nice: int, errors: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "raise OSError('no room')"], stderr=errors)

    monkeypatch.setattr(Program, "_start", start)
    learner = line()
    train(learner)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "recorded, not compiled: the compiler failed: OSError: no room" in told[1]
    assert next(iter(learner.executor.recordings.values())).count == 9  # type: ignore[attr-defined]


@needs_compiler
def test_a_signal_ends_a_run_that_waits_for_a_compilation(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came into effect once the compiler was through; and what a stop leaves must not be a step taken otherwise."""
    started: list[subprocess.Popen[bytes]] = []
    forever = "import sys, time; open(sys.argv[1] + '.failed', 'w'); time.sleep(60)"

    def start(self: Any, nice: int, errors: int) -> subprocess.Popen[bytes]:
        place = cache / "compiling-it"
        place.mkdir()
        words = [sys.executable, "-S", "-c", forever, str(cache / self.key), str(place)]
        started.append(subprocess.Popen(words, stderr=errors, start_new_session=True))
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return started[-1]

    monkeypatch.setattr(Program, "_start", start)
    options = tiny("dqn", tmp_path, name="mine", steps=600, compile="always", checkpoint_every=30, learning_starts=100)
    begin = time.monotonic()
    with pytest.raises(InterruptedRunError, match=r"stopped by SIGTERM, saved at step \d+; go on with") as stopped:
        experiment.start(options, quiet=True)
    assert stopped.value.exit_code == 128 + signal.SIGTERM and time.monotonic() - begin < 30
    assert started[0].poll() == -signal.SIGKILL and [path.name for path in cache.iterdir()] == []
    saved = checkpoint.steps(tmp_path / "mine/checkpoints")
    assert str(saved[-1]) in str(stopped.value) and saved[-1] < 130, "no step of another kind was saved"
    monkeypatch.undo()
    assert experiment.resume("mine", str(tmp_path), quiet=True).finished


def test_what_could_not_be_compiled_aside_is_not_tried_by_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLGEN_COMPILED", str(tmp_path / "compiled"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "torch.py").write_text("raise ImportError('broken')")  # to the compiler's process
    train(line(FillingRecording))
    assert machine_code._aside.pop().wait(60) == 1
    assert sorted(path.suffix for path in (tmp_path / "compiled").iterdir()) == ["", ".failed"]
    train(line(FillingRecording))
    assert not machine_code._aside


def test_a_folder_or_a_file_that_others_may_write_is_not_loaded_from(cache: Path) -> None:
    cache.mkdir(mode=0o700)
    cache.chmod(0o770)
    with pytest.raises(CannotCompileError, match="closed to others"):
        machine_code.folder()
    cache.chmod(0o700)
    assert machine_code.folder() == cache
    (cache.parent / "link").symlink_to(cache)
    os.environ["RLGEN_COMPILED"] = str(cache.parent / "link")  # put back by the fixture
    with pytest.raises(CannotCompileError, match="closed to others"):
        machine_code.folder()
    os.environ["RLGEN_COMPILED"] = str(cache)
    recorded = torch.fx.symbolic_trace(lambda x: x + 1)
    program = Program(recorded, [torch.zeros(1)], "work")
    for suffix in (".json", ".pt2"):
        (cache / f"{program.key}{suffix}").write_text("{}")
    (cache / f"{program.key}.pt2").chmod(0o666)
    with pytest.raises(CannotCompileError, match="closed to others"):
        program.load()


def test_a_key_is_of_all_that_machine_code_depends_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = torch.fx.symbolic_trace(lambda x: x + 1), torch.fx.symbolic_trace(lambda x: x + 2)
    keys = [
        Program(one, [torch.zeros(2, 3)], "").key,
        Program(other, [torch.zeros(2, 3)], "").key,
        Program(one, [torch.zeros(3, 2)], "").key,
        Program(one, [torch.zeros(3, 2).T], "").key,
        Program(one, [torch.zeros(2, 3, dtype=torch.float64)], "").key,
    ]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    keys.append(Program(one, [torch.zeros(2, 3)], "").key)
    monkeypatch.setattr(machine_code, "machine", lambda: "another")
    keys.append(Program(one, [torch.zeros(2, 3)], "").key)
    assert len({*keys}) == len(keys)


def test_a_package_whose_manifest_is_on_its_way_is_left_alone(cache: Path) -> None:
    program = Program(torch.fx.symbolic_trace(lambda x: x + 1), [torch.zeros(1)], "")
    package = cache / f"{program.key}.pt2"
    package.write_text("another process has just put it there")
    assert program.load() is None and package.exists()
    (cache / f"{program.key}.json").write_text("{}")  # one that does not fit is as good as none
    assert program.load() is None and not [*cache.iterdir()]


def test_who_waited_for_another_compilation_has_not_failed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it had: of two runs that needed the same steps at once, the second one stayed recorded."""
    place = cache / "compiling-key-1"
    place.mkdir(parents=True)
    (place / "program.json").write_text(json.dumps({"work": "work", "nice": 0}))

    def lock(*_: object) -> None:  # the other one ends now
        (cache / "key.json").write_text("{}")
        (cache / "key.failed").unlink()

    monkeypatch.setattr(compile_program.fcntl, "flock", lock)
    compile_program.main(place)
    assert (cache / "work.work").read_text() == "key\n" and not place.exists()


def test_compilations_of_one_program_have_folders_of_their_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []
    monkeypatch.setattr(subprocess, "Popen", lambda argv, **_: folders.append(Path(argv[-1])))
    monkeypatch.setattr(machine_code, "_aside", [])
    program = Program(torch.fx.symbolic_trace(lambda x: x + 1), [torch.zeros(1)], "")
    program.compile_aside()
    program.compile_aside()  # by another run of this process
    assert len({*folders}) == 2 and all((folder / "program.json").exists() for folder in folders)
    assert {folder.name.split("-")[1] for folder in folders} == {program.key}


def test_operations_that_draw_random_numbers_are_not_compiled(cache: Path) -> None:
    recorded = torch.fx.symbolic_trace(lambda x: torch.ops.aten.rand_like.default(x) + x)
    with pytest.raises(CannotCompileError, match="random"):
        Program(recorded, [torch.zeros(1)], "")


def test_denormal_numbers_are_zero_in_the_step_and_there_alone(stand_in: list[str]) -> None:
    learner = line()
    train(learner, 3)
    tiny_number = torch.tensor([1e-40])
    learner.optimizer.state[learner.net.weight]["exp_avg_sq"].fill_(1e-40)
    batch = {"x": torch.zeros(8, 3), "y": torch.zeros(8)}  # no gradient reaches the weight
    learner.minimize(learner.loss, batch, learner.optimizer)
    assert learner.optimizer.state[learner.net.weight]["exp_avg_sq"].count_nonzero() == 0
    assert (tiny_number * 0.5 != 0).all()


def test_batches_of_other_strides_are_read_as_what_they_are(stand_in: list[str]) -> None:
    learner = line()
    train(learner, 3)
    seen: list[torch.Tensor] = []
    recording = next(iter(learner.executor.recordings.values()))  # type: ignore[attr-defined]
    listed = recording._listed
    recording._listed = lambda *tensors: (seen.extend(tensors[-2:]), listed(*tensors))[1]
    x = torch.randn(3, 8)
    learner.minimize(learner.loss, {"x": x.T, "y": torch.zeros(8)}, learner.optimizer, max_grad_norm=0.5)
    assert seen[0].is_contiguous() and torch.equal(seen[0], x.T)


def test_compiled_steps_begin_at_the_same_update_in_a_resumed_run(stand_in: list[str]) -> None:
    """Once they began where enough updates were left: a run that went on late took eager steps, which round apart."""
    learner = line()
    learner.num_updates, learner.progress = 50, 0.99
    train(learner, 3)
    assert next(iter(learner.executor.recordings.values())).count == 2  # type: ignore[attr-defined]


def build(tmp_path: Path, algo: str = "dqn", **more: Any) -> tuple[str, Any]:
    config = tiny(algo, tmp_path, **more)
    learner, source, _ = experiment.build(config)
    source.close()
    record = getattr(learner.executor, "record", None)
    return config["compile"], record.func if record else None


def test_the_choice_is_made_before_the_first_step(
    tmp_path: Path, stand_in: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "cores", lambda: 2)
    short, long, longest = {"steps": 1_200}, {"steps": 50_000}, {"steps": 3_000_000}
    assert build(tmp_path, **short) == ("never", None)
    assert build(tmp_path, **long) == ("never", FillingRecording)
    assert build(tmp_path, **longest) == ("always", CompiledRecording)
    assert build(tmp_path, compile="always", **short) == ("always", CompiledRecording)
    assert build(tmp_path, compile="never", **longest) == ("never", None)
    assert build(tmp_path, graph=False, **longest) == ("never", None)
    assert build(tmp_path, "gan", **longest) == ("never", None)  # large convolutions gain nothing; those of an agent do
    assert build(tmp_path, env="observed:Room-v0", steps=400_000) == ("always", CompiledRecording)
    monkeypatch.setattr(compiled, "cores", lambda: 1)
    assert build(tmp_path, **long) == ("never", None)
    monkeypatch.setenv("RLGEN_COMPILED", "")
    assert build(tmp_path, **longest) == ("never", None)


@pytest.mark.parametrize(
    ("algo", "options", "rounds", "kept"),
    [
        ("dqn", {}, 600_000, 75_000),  # of 40 us each 24 s
        ("dqn", {"env": "observed:Room-v0"}, 200_000, 25_000),
        ("vae", {}, 200_000, 25_000),
        ("gan", {}, None, None),
    ],
)
def test_on_a_gpu_kernels_are_fused_where_the_rounds_to_come_repay_the_wait(
    algo: str,
    options: dict[str, Any],
    rounds: int | None,
    kept: int | None,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    config = tiny(algo, tmp_path, **options)
    learner, source, _ = experiment.build(config)
    source.close()
    learner.__class__ = type("OnGpu", (type(learner),), {"device": torch.device("cuda")})
    plain = learner.executor

    def chosen(num: int, compile: str = "auto", graph: bool = True) -> bool:
        learner.executor = plain
        given = config | {"compile": compile, "graph": graph}
        found = compiled.choose(given, {"file": "a work"}, learner, num)
        record = getattr(learner.executor, "record", None)
        assert (found == "always" and graph) == (record is not None and record.func is FusedRecording)
        return found == "always"

    assert chosen(10, "always") and not chosen(10**9, "never") and not chosen(10**9, graph=False)
    for limit in (rounds, kept):
        assert chosen(limit or 10**9) == (limit is not None) and not chosen((limit or 10**9) - 1)
        machine_code.note_fused(machine_code.hashed('{"file": "a work"}', "a GPU"))
    machine_code.clear(cache)
    assert not chosen(kept or 10**9), "what was made is gone"
    monkeypatch.setattr(machine_code, "compiler", lambda: None)
    assert not chosen(10**9)


def test_seeds_on_a_gpu_take_their_steps_as_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They never had fused kernels unless those were asked for."""
    made = []

    def record(steps: Any, stacked: Any) -> ListRecording:
        made.append(len(steps))
        return ListRecording(steps, stacked)

    def choose(config: Any, learner: Any, spec: Any, runs: int) -> str:
        assert config["compile"] == "auto" and runs == 1, "they take their rounds at once"
        learner.executor = Recorded(record=record)
        return "always"

    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    monkeypatch.setattr(experiment, "choose_executor", choose)
    monkeypatch.setattr(experiment, "settled", lambda config: {"device": "cuda"})
    found = experiment.start_seeds(tiny("dqn", tmp_path, name="many", steps=300), range(2), quiet=True)
    assert [run.config["compile"] for run in found.values()] == ["always", "always"]  # type: ignore[union-attr]
    assert made and {*made} == {2}


def test_seeds_in_processes_repay_a_compilation_together(
    tmp_path: Path, stand_in: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of them chooses for all; alone it would have waited in vain."""
    config = tiny("dqn", tmp_path, steps=4 * 100_000)
    assert 100_000 < compiled.REPAID < 2 * 100_000
    for runs, at_once, chosen in ((1, None, "never"), (2, 1, "always"), (2, 2, "always"), (2, None, "never")):
        own = dict(config)
        with experiment.built(own, tmp_path, runs, at_once=at_once):
            assert own["compile"] == chosen


def test_a_run_whose_steps_were_compiled_aside_is_followed_by_compiled_ones(
    tmp_path: Path, stand_in: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "MIN_UPDATES_LEFT", 10)
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    monkeypatch.setattr(compiled, "cores", lambda: 2)
    for seed, chosen in ((1, "never"), (2, "always")):
        run = experiment.start(tiny("dqn", tmp_path, seed=seed), quiet=True)
        assert run.config["compile"] == chosen and f'"compile": "{chosen}"' in (run.path / "config.json").read_text()
    assert len(stand_in) == 1 and stand_in[0].endswith(" aside")  # and the second run loaded what that made
    resumed = experiment.resume(str(run.path), steps=1_300, quiet=True)
    assert resumed.config["compile"] == "always" and len([*machine_code.folder().glob("*.work")]) == 1
    assert build(tmp_path, gamma=0.5) == ("never", FillingRecording)  # its steps are others


def test_a_run_of_before_there_was_compilation_goes_on_without(tmp_path: Path, stand_in: list[str]) -> None:
    run = experiment.start(tiny("dqn", tmp_path, steps=300), quiet=True)
    path = run.path / "config.json"
    info = json.loads(path.read_text())
    del info["config"]["compile"]
    path.write_text(json.dumps(info | {"format": 3}))
    assert experiment.resume(str(run.path), steps=600, quiet=True).config["compile"] == "never"


def test_the_packages_that_were_not_used_for_longest_go(cache: Path) -> None:
    cache.mkdir(mode=0o700)
    for age, name in enumerate(("new", "middle", "old")):
        (cache / f"{name}.json").write_text("{}")
        with open(cache / f"{name}.pt2", "wb") as file:
            file.truncate(MOST_BYTES // 2)
        os.utime(cache / f"{name}.pt2", (1_000 - age, 1_000 - age))
    evict(cache)
    assert sorted(path.name for path in cache.iterdir()) == ["middle.json", "middle.pt2", "new.json", "new.pt2"]
    assert f"{MOST_BYTES / 1e6:.1f} MB in {cache}" == doctor.compiled_steps(clear=False)
    assert doctor.compiled_steps(clear=True) == f"0.0 MB in {cache}" and not [*cache.iterdir()]
