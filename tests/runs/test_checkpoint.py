import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny

from rlgen import experiment, inference
from rlgen.core.buffer import Buffer
from rlgen.errors import CheckpointError, DiskError
from rlgen.runs import checkpoint, choice, files, segments


def state(step, size=1000):
    return {"step": step, "weights": torch.full((size,), float(step)), "rng": b"\x00\xff", "log": [1, 2.5, "x", None]}


def save(folder, *steps):
    for step in steps:
        checkpoint.save(folder, step, state(step))


def in_child(code, *args):
    imports = "import sys, os, torch\nfrom pathlib import Path\nfrom rlgen.runs import checkpoint\n"
    code = imports + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60)


def test_what_is_saved_is_loaded(tmp_path):
    path = checkpoint.save(tmp_path / "folder", 50_000, state(50_000), {"algo": "dqn"})
    assert path.name == "step_000050000"
    assert sorted(file.name for file in path.iterdir()) == ["manifest.json", "state.pt"]
    loaded = checkpoint.load(path.parent, 50_000)
    assert torch.equal(loaded.pop("weights"), torch.full((1000,), 50_000.0))
    assert loaded == {"step": 50_000, "rng": b"\x00\xff", "log": [1, 2.5, "x", None]}
    assert json.loads((path / "manifest.json").read_text())["algo"] == "dqn"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_truncated_checkpoint_is_skipped_loudly(tmp_path, capsys, part):
    save(tmp_path, 10, 20)
    file = tmp_path / "step_000000020" / "state.pt"
    os.truncate(file, int(file.stat().st_size * part))
    assert choice.load_newest(tmp_path)["step"] == 10
    error = capsys.readouterr().err
    assert "step_000000020" in error and "bytes" in error


@pytest.mark.parametrize("name", ["state.pt", "manifest.json"])
def test_one_flipped_byte_is_found_wherever_it_is(tmp_path, name):
    save(tmp_path, 10)
    file = tmp_path / "step_000000010" / name
    whole = file.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 12)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 0x04]) + whole[position + 1 :])
        try:
            loaded = checkpoint.load(tmp_path, 10)
        except CheckpointError:
            continue
        assert name == "manifest.json" and loaded["step"] == 10  # a byte of a version's text, or white space


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "state.pt").unlink(), "state.pt is missing"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: (path / "manifest.json").write_text('{"format": 1'), "manifest is damaged"),
        (lambda path: (path / "manifest.json").write_text('{"format": 99}'), "format is 99"),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest is damaged"),
    ],
)
def test_damage_is_named_and_without_another_checkpoint_is_an_error(tmp_path, damage, reason):
    save(tmp_path, 10)
    damage(tmp_path / "step_000000010")
    with pytest.raises(CheckpointError, match=reason) as caught:
        choice.load_newest(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="none was saved"):
        choice.load_newest(tmp_path / "empty")


class Attack:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f"touch {self.sentinel}",)


def test_code_in_a_checkpoint_is_not_run_even_with_a_right_manifest(tmp_path):
    writers = (
        lambda path, value: torch.save(value, path),
        lambda path, value: path.write_bytes(pickle.dumps(value, 2)),
    )
    for step, write in enumerate(writers):
        save(tmp_path, step)
        path = tmp_path / f"step_{step:09d}"
        write(path / "state.pt", {"step": step, "log": Attack(tmp_path / "sentinel")})
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["files"]["state.pt"] = files.digest(path / "state.pt")
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoint.load(tmp_path, step)
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("moment", ["fsync", "digest", "write_json"])
def test_killed_while_saving_leaves_the_previous_checkpoint(tmp_path, moment):
    save(tmp_path, 10)
    child = in_child(
        """
        def die(*args):
            os.kill(os.getpid(), 9)
        setattr(checkpoint, sys.argv[2], die)
        checkpoint.save(Path(sys.argv[1]), 20, {"step": 20, "weights": torch.zeros(100_000)})
        """,
        tmp_path,
        moment,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert checkpoint.steps(tmp_path) == [10]
    assert choice.load_newest(tmp_path)["step"] == 10
    assert len(os.listdir(tmp_path)) == 2
    files.remove_stale(tmp_path)
    assert os.listdir(tmp_path) == ["step_000000010"]


def test_full_disk_is_a_disk_error_and_leaves_the_previous_checkpoint(tmp_path):
    save(tmp_path, 10)
    child = in_child(  # a limit on the size of files: a real partial write, without a disk to fill
        """
        import resource
        from rlgen.errors import DiskError
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            checkpoint.save(Path(sys.argv[1]), 20, {"step": 20, "weights": torch.zeros(1_000_000)})
        except DiskError as error:
            print(error)
        """,
        tmp_path,
    )
    assert "cannot write checkpoint" in child.stdout and "step 10 is intact" in child.stdout, child.stderr
    assert os.listdir(tmp_path) == ["step_000000010"]
    assert choice.load_newest(tmp_path)["step"] == 10


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(28, "No space left on device"), DiskError),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_failed_save_leaves_nothing_behind(tmp_path, monkeypatch, raised, expected):
    def fail(value, file):
        file.write(b"half")
        raise raised

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(expected) as caught:
        checkpoint.save(tmp_path, 10, state(10))
    assert type(caught.value) is expected
    assert os.listdir(tmp_path) == []


def test_a_step_saved_again_is_replaced(tmp_path):
    checkpoint.save(tmp_path, 10, state(10, size=3))
    checkpoint.save(tmp_path, 10, state(10, size=5))
    assert len(checkpoint.load(tmp_path, 10)["weights"]) == 5
    assert os.listdir(tmp_path) == ["step_000000010"]


def test_names_that_are_no_steps_are_no_checkpoints(tmp_path):
    save(tmp_path, 10)
    for name in (
        "step_5",
        "step_²00000000",
        "step_0000000005",
        "step_" + "9" * 200,
        "step_-00000005",
        "step_00000000x",
    ):
        (tmp_path / name).mkdir()
    (tmp_path / "step_000000020").write_text("a file")
    assert checkpoint.steps(tmp_path) == [10]


def test_a_pipe_in_the_place_of_a_state_holds_nobody_up(tmp_path):
    save(tmp_path, 10)
    for name in ("state.pt", "manifest.json"):
        path = tmp_path / "step_000000010" / name
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(CheckpointError, match="not a file"):
            checkpoint.load(tmp_path, 10)
        path.unlink()
        path.write_bytes(content)


def test_a_state_of_another_size_is_refused_before_it_is_read_for_its_checksum(tmp_path, monkeypatch):
    save(tmp_path, 10)
    os.truncate(tmp_path / "step_000000010" / "state.pt", 2**40)  # sparse; reading it takes minutes
    monkeypatch.setattr(files.hashlib, "file_digest", lambda file, kind: pytest.fail("all of it was read"))
    with pytest.raises(CheckpointError, match=f"state.pt has {2**40} bytes, its manifest says"):
        checkpoint.load(tmp_path, 10)


@pytest.mark.parametrize("said", [1, 2])
def test_a_manifest_of_another_format_than_its_state_is_refused(tmp_path, said):
    """As one of an older format, a state would be converted, and lose its buffer without a word."""
    path = checkpoint.save(tmp_path, 10, state(10) | {"format": checkpoint.FORMAT, "buffer": {"n_step": 1}})
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": said}))
    with pytest.raises(CheckpointError, match=f"its manifest says format {said}, its state {checkpoint.FORMAT}"):
        checkpoint.load(tmp_path, 10)


def test_counts_of_rows_that_an_older_version_saved_as_lists_are_read(tmp_path):
    row = {name: np.ones((2, 3), np.float32) for name in ("obs", "next_obs")}
    row |= {"reward": np.zeros(2, np.float32)} | {name: np.ones(2, np.bool_) for name in ("terminated", "truncated")}
    buffers = [Buffer(8, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    for _ in range(6):
        buffers[0].add(row)
    now = buffers[0].state_dict()
    index, frames = (
        now["index"] | {"valid_in_row": [2] * 5},
        now["frames"] | {"in_row": now["frames"]["in_row"].tolist()},
    )
    before = {"format": 3, "step": 10, "buffer": now | {"index": index, "frames": frames}}
    path = checkpoint.save(tmp_path, 10, before)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 3}))
    loaded = checkpoint.load(tmp_path, 10)["buffer"]
    assert not any(isinstance(value, list) for part in ("index", "frames") for value in loaded[part].values())
    buffers[1].load_state_dict(loaded)
    assert buffers[1].index.valid_in_row == buffers[0].index.valid_in_row
    assert buffers[1].observations.finals.in_row == buffers[0].observations.finals.in_row
    assert torch.equal(buffers[1].sample(4)["index"], buffers[0].sample(4)["index"])


def test_what_is_counted_of_rows_is_saved_as_tensors(tmp_path):
    """Of a ring of nine million rows two lists took a minute to be read."""
    buffer = Buffer(16, generator=torch.Generator().manual_seed(0))
    row = {name: np.ones((2, 3), np.float32) for name in ("obs", "next_obs")}
    row |= {"reward": np.zeros(2, np.float32)} | {name: np.ones(2, np.bool_) for name in ("terminated", "truncated")}
    buffer.add(row)

    def lists(value):
        if isinstance(value, dict):
            return [found for item in value.values() for found in lists(item)]
        return [value] if isinstance(value, list) else []

    assert all(len(found) <= 2 for found in lists(buffer.state_dict()))


def mapped():
    """Whether a state.pt is mapped into this process."""
    return "state.pt" in Path("/proc/self/maps").read_text()


def anonymous():
    """Bytes in memory that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_ring_that_an_older_version_saved_is_in_memory_once_while_it_is_loaded(tmp_path, monkeypatch):
    """A full one took twice its memory when a run was resumed."""
    monkeypatch.setattr(segments, "LARGE", 2**40)  # as it was before there were any
    row = {name: np.ones((1, 2**20), np.uint8) for name in ("obs", "next_obs")}
    row |= {"reward": np.zeros(1, np.float32)} | {name: np.zeros(1, np.bool_) for name in ("terminated", "truncated")}
    buffers = [Buffer(64, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    for _ in range(70):
        buffers[0].add(row)
    checkpoint.save(tmp_path, 10, {"step": 10, "buffer": buffers[0].state_dict()})

    before = anonymous()
    loaded = checkpoint.load(tmp_path, 10)
    assert anonymous() - before < 2**25, "half of it"
    buffers[1].load_state_dict(loaded["buffer"])
    assert anonymous() - before < 1.5 * buffers[0].nbytes
    assert torch.equal(buffers[1].ring.columns["obs"], buffers[0].ring.columns["obs"])
    assert mapped()
    del loaded
    assert not mapped()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("algo", ["dqn", "vae"])
def test_a_run_that_goes_on_holds_no_file_of_a_checkpoint(algo, tmp_path, monkeypatch):
    """What is mapped would keep the room of a removed checkpoint on the disk for as long as the run trains."""
    held = []
    agent = {} if algo == "vae" else {"num_envs": 2, "vectorization": "native", "eval_episodes": 1}
    run = experiment.start(tiny(algo, tmp_path, name="mine", steps=300, **agent), quiet=True)
    monkeypatch.setattr(checkpoint, "LARGE", 0)
    monkeypatch.setattr("rlgen.core.loop.train", lambda *args: held.append(mapped()))
    experiment.resume("mine", str(tmp_path), steps=400, quiet=True)
    assert held == [False] and inference.load(run.path).num_updates and not mapped()
