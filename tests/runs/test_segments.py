"""The rows of a large ring lie in files that checkpoints share: a save costs what was written since the last one."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from full_disk import FullDisk
from tiny import assert_equal, comparable, tiny

from rlgen import experiment, inference
from rlgen.core.buffer import Buffer
from rlgen.errors import CheckpointError, DiskError
from rlgen.runs import checkpoint, choice, files, pruning, segments
from rlgen.runs.run import Run
from rlgen.runs.show import show

ROW = 2 * 100 + 8 + 3 * 2  # bytes: observations, a reward, flags and `valid` of two environments
PARTS = ("step", "learner", "source", "buffer", "rng", "best")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A ring of ten rows is a large one, of blocks of eight; sixteen last observations are not."""
    monkeypatch.setattr(segments, "LARGE", 10 * ROW)
    monkeypatch.setattr(segments, "BLOCK", 8 * ROW)


def make_buffer(rows=100, frame_stack=1):
    return Buffer(2 * rows, frame_stack=frame_stack, generator=torch.Generator().manual_seed(0))


def add(buffer, num, draw=None, rate=0.2):
    """Add rows that differ from each other; where `draw` says so, episodes end, or a row is not valid."""
    for _ in range(num):
        number = buffer.num_added
        obs, next_obs = (np.full((2, 100), (number + more) % 251, np.uint8) for more in (0, 1))
        if buffer.frame_stack > 1:
            obs, next_obs = (np.stack([each] * buffer.frame_stack, 1) for each in (obs, next_obs))
        ended, valid = (draw.random((2, 2)) < [[rate], [0.8]]) if draw else np.array([[False] * 2, [True] * 2])
        flags = {"terminated": ended, "truncated": np.zeros(2, np.bool_), "valid": valid}
        buffer.add({"obs": obs, "next_obs": next_obs, "reward": np.full(2, number, np.float32), **flags})


def manifest(folder, step):
    return json.loads((checkpoint.directory(folder, step) / "manifest.json").read_text())


def named(folder, step):
    return set(manifest(folder, step).get("segments", {}))


class Saved:
    """Checkpoints of a buffer as a run saves them, and what of each was written."""

    def __init__(self, folder):
        self.folder, self.blocks, self.step = folder, segments.Segments(), 0

    def save(self, buffer, keep=2):
        """Save and prune; returns how many segments are new."""
        self.step += 10
        before, state = self.names(), {"step": self.step + 0, "buffer": buffer.state_dict()}
        self.blocks.look(buffer, state["buffer"])
        checkpoint.save(self.folder, self.step, state, blocks=self.blocks)
        new = len(self.names() - before)
        pruning.prune(self.folder, self.step, None, keep)
        return new

    def names(self):
        return {path.name for path in self.folder.glob("segments/*")}

    def load(self, buffer, step=None):
        state = checkpoint.load(self.folder, step or self.step)["buffer"]
        buffer.load_state_dict(state)
        self.blocks.loaded(state, buffer)


def assert_same(one, other):
    saved = one.ring.num_saved(one.ring.oldest, one.ring.num_used)  # of a ring that was drained, others may be there
    for name, column in one.ring.columns.items():
        assert torch.equal(column[:saved], other.ring.columns[name][:saved]), name
    for name, table in one.observations.finals.tables.items():
        assert torch.equal(table, other.observations.finals.tables[name]), name
    assert (one.ring.oldest, one.ring.num_used, one.num_added) == (
        other.ring.oldest,
        other.ring.num_used,
        other.num_added,
    )
    other.backend.generator.set_state(one.backend.generator.get_state())
    assert_equal(one.sample(64), other.sample(64), "batch")


def test_a_save_writes_the_blocks_that_changed_and_no_other(tmp_path):
    buffer, saved = make_buffer(100), Saved(tmp_path)
    add(buffer, 20)
    assert saved.save(buffer) == 3, "a ring that is half full writes what is filled"
    assert saved.save(buffer) == 0
    add(buffer, 3)  # rows 20 to 23 are in the third block, and the newest next_obs
    assert saved.save(buffer) == 1
    add(buffer, 70)
    assert saved.save(buffer) == 9 + 1  # rows 23 to 94
    add(buffer, 20)  # rows 93 to 100, and 0 to 12
    assert saved.save(buffer) == 4
    add(buffer, 300)
    assert saved.save(buffer) == 13
    other = make_buffer(100)
    saved.load(other)
    assert_same(buffer, other)


@pytest.mark.parametrize("frame_stack", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_added_since_the_last_save_what_is_loaded_is_what_was_there(tmp_path, frame_stack, seed):
    """Which blocks changed is known from where the ring stood alone: no row may be missed."""
    draw = np.random.default_rng(seed)
    buffer, saved = make_buffer(40, frame_stack), Saved(tmp_path)
    for _ in range(25):
        num = int(draw.choice([0, 1, 2, 7, 8, 9, 39, 40, 41, 42, 43, 44, 80, 200], p=[0.1, *[0.9 / 13] * 13]))
        add(buffer, num, draw if seed % 2 else None)
        if len(buffer) and draw.random() < 0.1:
            buffer.drain()
            add(buffer, int(draw.integers(0, 60)), draw)
        if not len(buffer):
            continue
        saved.save(buffer)
        other = make_buffer(40, frame_stack)
        other.load_state_dict(checkpoint.load(tmp_path, saved.step)["buffer"])
        assert_same(buffer, other)
        if draw.random() < 0.3:  # the run is resumed: the loaded one is written to
            saved.load(other)
            buffer = other
    assert saved.names() == {name for step in checkpoint.steps(tmp_path) for name in named(tmp_path, step)}


def test_tables_of_last_observations_that_are_large_lie_in_segments_too(tmp_path):
    buffer, saved, draw = make_buffer(100), Saved(tmp_path), np.random.default_rng(0)
    for rate in [0.2] * 12 + [0.5, 0.9, 0.9]:  # the table grows when it has gone round
        add(buffer, 30, draw, rate)
        saved.save(buffer)
        other = make_buffer(100)
        other.load_state_dict(checkpoint.load(tmp_path, saved.step)["buffer"])
        assert_same(buffer, other)
    state = torch.load(checkpoint.directory(tmp_path, saved.step) / "state.pt", weights_only=True)["buffer"]
    assert state["frames"]["blocks"]["names"] and state["ring"]["blocks"]["names"]
    assert (checkpoint.directory(tmp_path, saved.step) / "state.pt").stat().st_size < buffer.nbytes / 2


def test_the_format_is_five_only_where_there_are_segments(tmp_path, monkeypatch):
    buffer, saved = make_buffer(100), Saved(tmp_path)
    add(buffer, 8)
    saved.save(buffer)
    add(buffer, 30)
    saved.save(buffer)
    assert [manifest(tmp_path, step)["format"] for step in (10, 20)] == [4, 5]
    assert "segments" not in manifest(tmp_path, 10) and len(named(tmp_path, 20)) == 5
    for step in (10, 20):
        saved.load(make_buffer(100), step)


@pytest.fixture
def three(tmp_path):
    """Three checkpoints of a ring that goes on, and what was in it; the first blocks are common to all."""
    buffer, saved = make_buffer(100), Saved(tmp_path / "checkpoints")
    for _ in range(3):
        add(buffer, 30)
        saved.save(buffer, keep=3)
    return saved, buffer


def own_of(saved, step):
    """The segments that this checkpoint alone has."""
    others = [named(saved.folder, each) for each in checkpoint.steps(saved.folder) if each != step]
    return named(saved.folder, step).difference(*others)


DAMAGE = {
    "missing": lambda path: path.unlink(),
    "cut": lambda path: os.truncate(path, 5),
    "a byte": lambda path: path.write_bytes(b"?" + path.read_bytes()[1:]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_with_a_damaged_segment_is_a_damaged_one(three, damage, capsys):
    saved, _ = three
    DAMAGE[damage](saved.folder / "segments" / own_of(saved, 30).pop())
    with pytest.raises(CheckpointError, match=r"segment [0-9a-f]{12} ") as caught:
        saved.load(make_buffer(100), 30)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="segment"):
        checkpoint.verified(checkpoint.directory(saved.folder, 30), with_segments=True)
    assert (
        choice.load_newest(saved.folder, lambda state: make_buffer(100).load_state_dict(state["buffer"]))["step"] == 20
    )
    assert f"skipped checkpoint {checkpoint.directory(saved.folder, 30)}: segment" in capsys.readouterr().err


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_segment_that_was_damaged_is_written_again_where_it_is_needed_again(three, damage):
    """A run that goes on from the older checkpoint comes to the same rows, and so to the same name."""
    saved, buffer = three
    name = own_of(saved, 30).pop()
    DAMAGE[damage](saved.folder / "segments" / name)
    blocks = segments.Segments()
    blocks.look(buffer, buffer.state_dict())
    checkpoint.save(saved.folder, 30, {"step": 30, "buffer": buffer.state_dict()}, blocks=blocks)
    other = make_buffer(100)
    saved.load(other, 30)
    assert_same(buffer, other)


def test_a_segment_that_somebody_removed_meanwhile_is_written_again(three):
    saved, buffer = three
    for path in saved.folder.glob("segments/*"):
        path.unlink()
    saved.save(buffer)
    other = make_buffer(100)
    saved.load(other)
    assert_same(buffer, other)


@pytest.mark.parametrize(
    "change",
    [
        lambda blocks: blocks["names"].pop(),
        lambda blocks: blocks["names"].reverse(),
        lambda blocks: blocks["names"].__setitem__(0, "../../state.pt"),
        lambda blocks: blocks["names"].__setitem__(0, 3),
        lambda blocks: blocks.update(rows=0),
        lambda blocks: blocks.update(rows="x"),
        lambda blocks: blocks.update(rows=-1, names=[]),
        lambda blocks: blocks.update(names=None),
        lambda blocks: blocks.clear(),
    ],
)
def test_blocks_that_are_not_those_of_the_ring_are_refused(three, change):
    saved, _ = three
    path = checkpoint.directory(saved.folder, 30)
    state = torch.load(path / "state.pt", weights_only=True)
    change(state["buffer"]["ring"]["blocks"])
    torch.save(state, path / "state.pt")
    (path / "manifest.json").write_text(
        json.dumps(manifest(saved.folder, 30) | {"files": {"state.pt": files.digest(path / "state.pt")}})
    )
    with pytest.raises(CheckpointError) as caught:
        saved.load(make_buffer(100), 30)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pending", "damaged", "kept"), [(0, [], [10, 20, 30]), (10**6, [], [30]), (10**6, [30], [20])]
)
def test_room_is_made_for_segments_too_down_to_a_checkpoint_whose_own_are_whole(
    three, monkeypatch, pending, damaged, kept
):
    saved, _ = three
    for step in damaged:
        path = saved.folder / "segments" / own_of(saved, step).pop()
        path.write_bytes(bytes(path.stat().st_size))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**6))
    pruning.make_room(saved.folder, 30, None, pending)
    assert checkpoint.steps(saved.folder) == kept
    assert saved.names() == {name for step in kept for name in named(saved.folder, step)}


def test_segments_go_with_the_last_checkpoint_that_names_them(three):
    saved, _ = three
    (saved.folder / "segments" / "notes.txt").write_text("not ours")
    (saved.folder / "segments" / ".tmp-half").write_text("of a process that was killed")
    for keep in (2, 1):
        pruning.prune(saved.folder, 30, None, keep)
        ours = {name for step in checkpoint.steps(saved.folder) for name in named(saved.folder, step)}
        assert saved.names() == ours | {"notes.txt"}
    saved.load(make_buffer(100), 30)


def test_no_block_is_copied_on_its_way_from_the_ring_and_into_it(tmp_path, monkeypatch):
    """A ring of gigabytes was in memory twice while it was saved."""
    buffer, saved = make_buffer(1000), Saved(tmp_path)
    add(buffer, 900)
    pieces, content = [], segments._content
    monkeypatch.setattr(segments, "_content", lambda piece: pieces.append(piece) or content(piece))
    saved.save(buffer)
    other = make_buffer(1000)
    saved.load(other)
    ours = {column.untyped_storage().data_ptr() for each in (buffer, other) for column in each.ring.columns.values()}
    assert pieces and {piece.untyped_storage().data_ptr() for piece in pieces} == ours


class Kill(FullDisk):
    """Ends this process without notice at the first call that would be refused."""

    CALLS = ("unlink", "rmdir")

    def __enter__(self):
        super().__enter__()
        for name in self.CALLS:
            self.patch.setattr(os, name, self.removing(name, getattr(os, name)))
        return self

    def removing(self, name, real):
        def remove(path, *args, **options):
            self._count(name, self.folder)
            return real(path, *args, **options)

        return remove

    def _count(self, name, place):
        if str(place).startswith(self.folder):
            self.calls.append(name)
            if self.first is not None and len(self.calls) > self.first:
                os.kill(os.getpid(), signal.SIGKILL)


def die_in(call, folder, do):
    """Do something in a process that is killed at its `call`th call to the disk; whether it was."""
    child = os.fork()
    if not child:
        try:
            with Kill(folder, call):
                do()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_anywhere_in_a_save_no_whole_checkpoint_is_lost(three, tmp_path):
    saved, buffer = three
    then = make_buffer(100)
    saved.load(then)
    saved.load(buffer)
    add(buffer, 40)
    before = shutil.copytree(saved.folder, tmp_path / "before", symlinks=True)
    reached = set()
    for call in range(10_000):
        shutil.rmtree(saved.folder)
        shutil.copytree(before, saved.folder)
        killed = die_in(call, saved.folder, lambda: saved.save(buffer))
        for folder in (saved.folder, saved.folder / "segments"):
            files.remove_stale(folder)
        checkpoint.collect(saved.folder)
        found = checkpoint.steps(saved.folder)
        assert found[-1] in (30, 40) and 30 in found
        for step in found:
            checkpoint.verified(checkpoint.directory(saved.folder, step), with_segments=True)
        assert saved.names() == {name for step in found for name in named(saved.folder, step)}
        reached.add(found[-1])
        other = make_buffer(100)
        other.load_state_dict(checkpoint.load(saved.folder, found[-1])["buffer"])
        assert_same(buffer if found[-1] == 40 else then, other)
        if not killed:
            break
    assert reached == {30, 40} and call > 30


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_is_full_anywhere_in_a_save_leaves_what_was_there(three, code):
    saved, buffer = three
    add(buffer, 40)
    names = saved.names()
    with FullDisk(saved.folder) as disk:
        saved.save(buffer, keep=3)
    last = next(i for i, call in enumerate(disk.calls) if call.startswith("rename") and "step" in call)
    shutil.rmtree(checkpoint.directory(saved.folder, 40))
    for first in range(last):
        checkpoint.collect(saved.folder)
        with FullDisk(saved.folder, first, code), pytest.raises(DiskError, match="step 30 is intact"):
            blocks = segments.Segments()
            checkpoint.save(saved.folder, 40, {"step": 40, "buffer": buffer.state_dict()}, blocks=blocks)
        assert checkpoint.steps(saved.folder) == [20, 30] and saved.names() <= names
        assert not list(saved.folder.rglob(".tmp-*"))
    saved.load(make_buffer(100), 30)


# Runs

OPTIONS = {"num_envs": 2, "vectorization": "native", "eval_episodes": 1, "buffer_size": 400, "keep": 1000}
OPTIONS |= {"steps": 900, "checkpoint_every": 100, "eval_every": 450, "log_every": 90}


@pytest.fixture
def runs(monkeypatch):
    monkeypatch.setattr(segments, "LARGE", 1000)
    monkeypatch.setattr(segments, "BLOCK", 2000)


def train(folder, name, **more):
    return experiment.start(tiny("dqn", folder, name=name, **OPTIONS | more), quiet=True)


def cut_after(run, step, name):
    """What a run leaves that was killed some time after this checkpoint."""
    path = shutil.copytree(run.path, run.path.with_name(name))
    for later in checkpoint.steps(path / "checkpoints"):
        if later > step:
            shutil.rmtree(checkpoint.directory(path / "checkpoints", later))
    return path


def assert_same_end(one, other):
    assert_equal(comparable(one.path), comparable(other.path), "rows")
    state, expected = other.load(), one.load()
    for part in PARTS:
        assert_equal(state[part], expected[part], part)


@pytest.mark.usefixtures("runs")
def test_a_run_goes_on_from_segments_as_if_it_had_never_stopped(tmp_path):
    whole = train(tmp_path, "whole")
    assert len(list((whole.path / "checkpoints/segments").iterdir())) > 9
    for step in checkpoint.steps(whole.checkpoints)[1:7:5]:  # half full, and after the ring went round
        cut_after(whole, step, f"from-{step}")
        again = experiment.resume(f"from-{step}", str(tmp_path), quiet=True)
        assert_same_end(whole, again)
        ours = {name for each in checkpoint.steps(again.checkpoints) for name in named(again.checkpoints, each)}
        assert {path.name for path in (again.checkpoints / "segments").iterdir()} == ours


@pytest.mark.usefixtures("runs")
def test_a_resumed_run_writes_what_changed_and_removes_what_nobody_names(tmp_path, monkeypatch):
    whole = train(tmp_path, "whole")
    path = cut_after(whole, checkpoint.steps(whole.checkpoints)[5], "mine")  # segments of later ones are left
    blocks, written, write = len(named(path / "checkpoints", checkpoint.steps(path / "checkpoints")[-1])), [], []
    real, save = segments._write, Run.save
    monkeypatch.setattr(segments, "_write", lambda *args: write.append(1) or real(*args))
    monkeypatch.setattr(Run, "save", lambda run, *args: (save(run, *args), written.append(len(write))))
    run = Run.open(path)
    with run.running():
        ours = {name for step in checkpoint.steps(run.checkpoints) for name in named(run.checkpoints, step)}
        assert {each.name for each in (run.checkpoints / "segments").iterdir()} == ours
    experiment.resume("mine", str(tmp_path), quiet=True)
    assert 0 < written[0] < blocks / 2


def test_names_in_a_manifest_that_lead_elsewhere_are_refused(three, tmp_path):
    saved, _ = three
    (tmp_path / "outside").write_bytes(b"x")
    path = checkpoint.directory(saved.folder, 30) / "manifest.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"segments": whole["segments"] | {"../../outside": 1}}))
    with pytest.raises(CheckpointError, match="no name of a segment"):
        checkpoint.load(saved.folder, 30)
    assert "../../outside" not in checkpoint.segments_of(path.parent)


@pytest.mark.gpu
@pytest.mark.parametrize("devices", [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_a_ring_on_a_gpu_is_written_and_read_block_by_block(tmp_path, devices):
    one, other = (Buffer(200, generator=torch.Generator(device).manual_seed(0)) for device in devices)
    saved = Saved(tmp_path)
    for _ in range(4):
        add(one, 37)
        saved.save(one)
    saved.load(other)
    for name, column in one.ring.columns.items():
        assert torch.equal(column.cpu(), other.ring.columns[name].cpu()), name
    add(other, 3)
    assert saved.save(other) <= 2


@pytest.mark.usefixtures("runs")
def test_the_size_of_a_checkpoint_and_of_a_run_has_the_segments_in_it(tmp_path):
    run = train(tmp_path, "mine", keep=3, steps=600)
    ring = sum(manifest(run.checkpoints, run.saved)["segments"].values())
    shown = show("mine", str(tmp_path))
    state = checkpoint.directory(run.checkpoints, run.saved) / "state.pt"
    assert ring < shown["last_checkpoint"]["size"] - state.stat().st_size < ring + 2000
    assert shown["size"] > sum(path.stat().st_size for path in run.path.glob("checkpoints/**/*") if path.is_file())


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_a_run_with_segments_learns_what_one_without_them_does(tmp_path, monkeypatch):
    one = train(tmp_path, "one")
    monkeypatch.setattr(segments, "LARGE", 2**40)
    other = train(tmp_path, "other")
    assert comparable(one.path) == comparable(other.path)
    assert not (other.checkpoints / "segments").exists()
    cut_after(
        other, checkpoint.steps(other.checkpoints)[4], "before"
    )  # it began before there were segments, and goes on with them
    monkeypatch.setattr(segments, "LARGE", 1000)
    assert_same_end(one, experiment.resume("before", str(tmp_path), quiet=True))


@pytest.mark.usefixtures("runs")
def test_a_resume_takes_the_older_checkpoint_where_a_segment_is_damaged(tmp_path, capsys):
    whole = train(tmp_path, "whole")
    older, step = checkpoint.steps(whole.checkpoints)[4:6]
    folder = cut_after(whole, step, "mine") / "checkpoints"
    name = next(iter(named(folder, step) - named(folder, older)))
    (folder / "segments" / name).write_bytes(bytes((folder / "segments" / name).stat().st_size))
    again = experiment.resume("mine", str(tmp_path), quiet=True)
    assert f"step_{step:09d}: segment {name[:12]} is damaged" in capsys.readouterr().err
    assert_same_end(whole, again)


@pytest.mark.usefixtures("runs")
def test_a_fork_has_its_parents_segments_and_neither_takes_them_from_the_other(tmp_path):
    parent = train(tmp_path, "parent")
    step = checkpoint.steps(parent.checkpoints)[4]
    forked = experiment.fork("parent", {"steps": 1400}, str(tmp_path), name="child", checkpoint=str(step), quiet=True)
    assert forked.info["parent"]["step"] == step
    for run in (parent, forked):
        for step in checkpoint.steps(run.checkpoints):
            checkpoint.verified(checkpoint.directory(run.checkpoints, step), with_segments=True)
    shutil.rmtree(parent.path)
    experiment.resume("child", str(tmp_path), steps=1500, quiet=True)


@pytest.mark.usefixtures("runs")
def test_a_fork_takes_the_older_checkpoint_where_a_segment_is_damaged(tmp_path, capsys):
    parent = train(tmp_path, "parent")
    older, newest = checkpoint.steps(parent.checkpoints)[-2:]
    name = next(iter(named(parent.checkpoints, newest) - named(parent.checkpoints, older)))
    (parent.checkpoints / "segments" / name).write_bytes(bytes(5000))
    forked = experiment.fork("parent", {"steps": 1000}, str(tmp_path), name="child", quiet=True)
    assert "skipped checkpoint" in capsys.readouterr().err and forked.info["parent"]["step"] == older
    assert inference.load(parent.path).num_updates, "the networks are as good as ever"


@pytest.mark.usefixtures("runs")
def test_the_networks_of_a_run_whose_segments_are_gone_are_as_good_as_ever(tmp_path, capsys):
    """The ring is most of a run's bytes: who copies a run to evaluate it leaves them away."""
    run = train(tmp_path, "mine", keep=1, steps=200)
    newest, folder = run.saved, run.checkpoints / "segments"
    assert newest == checkpoint.steps(run.checkpoints)[-1]
    for damage in (DAMAGE["cut"], DAMAGE["missing"], DAMAGE["a pipe"]):
        for name in named(run.checkpoints, newest):
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_bytes(b"x")
            damage(folder / name)
        assert inference.load(run.path, checkpoint=str(newest)).num_updates
    shutil.rmtree(folder)
    assert inference.evaluate("mine", str(tmp_path), episodes=1)["step"] == newest
    assert not capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"segment .* is missing"):
        run.load()


@pytest.mark.parametrize("damage", ["unreadable", "damaged", "newer"])
def test_no_segment_is_removed_while_a_manifest_is_there_that_cannot_be_read(three, monkeypatch, damage):
    """A disk that fails for a moment, or another version's entry, took the ring of a whole checkpoint away."""
    saved, _ = three
    path, names = checkpoint.directory(saved.folder, 20) / "manifest.json", saved.names()
    text = path.read_text()
    if damage == "unreadable":
        real = files.open_file

        def refused(file):
            if Path(file) == path:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
            return real(file)

        monkeypatch.setattr(files, "open_file", refused)
    else:
        path.write_text(text[:-20] if damage == "damaged" else text.replace('"format": 5', '"format": 6'))
    checkpoint.collect(saved.folder)
    assert saved.names() == names
    monkeypatch.undo()
    path.write_text(text)
    saved.load(make_buffer(100), 20)


def test_killed_anywhere_while_a_step_is_saved_again_its_checkpoint_is_not_lost(three, tmp_path):
    """With `--keep 1` there is no other: a run that a signal stopped in an evaluation saves its step once more."""
    saved, buffer = three
    pruning.prune(saved.folder, 30, None, newest=1)
    before = shutil.copytree(saved.folder, tmp_path / "before")
    for call in range(10_000):
        shutil.rmtree(saved.folder)
        shutil.copytree(before, saved.folder)
        state = {"step": 30, "buffer": buffer.state_dict()}
        killed = die_in(call, saved.folder, lambda state=state: checkpoint.save(saved.folder, 30, state))
        checkpoint.tidy(saved.folder)
        assert checkpoint.steps(saved.folder) == [30], call
        saved.load(make_buffer(100), 30)
        assert not list(saved.folder.rglob(".tmp-*"))
        if not killed:
            break
    assert call > 20
