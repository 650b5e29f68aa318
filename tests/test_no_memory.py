"""Memory that runs out, wherever in a command: one line, exit code 2, and what was saved is the newest as before."""

import errno
import itertools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import comparable, tiny

from rlgen import commands, experiment
from rlgen.commands import main
from rlgen.core import index, source
from rlgen.core.buffer import Buffer
from rlgen.core.ring import Ring
from rlgen.core.step import Eager
from rlgen.data import decode, npz, zipped
from rlgen.envs.vector import LoopVectorEnv
from rlgen.runs import checkpoint
from rlgen.runs import run as runs

ERRORS = {  # who says it, each in its own way
    "Python": MemoryError(),
    "NumPy": np._core._exceptions._ArrayMemoryError((10**12,), np.dtype("f8")),
    "torch": RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "the system": OSError(errno.ENOMEM, "Cannot allocate memory"),
}
STATE = {  # where a state is read or put back, or the run goes on
    "reading a state": (torch, "load"),
    "its checksum": (checkpoint, "digest"),
    "acting, for its shapes": (runs, "check_source"),
    "the weights": (runs, "load_learner"),
    "the ring": (Ring, "__init__"),
    "the rows": (Ring, "load_state_dict"),
    "the counts": (index.UniformIndex, "load_state_dict"),
    "the generators": (runs, "set_generators"),
    "an update": (Eager, "minimize"),
    "a step of an environment": (LoopVectorEnv, "step"),
    "an evaluation": (source, "play"),
    "the ring's copy, for a checkpoint": (Buffer, "state_dict"),
    "writing a checkpoint": (torch, "save"),
    "its weights alone": (runs, "save_weights"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    options = {"steps": 300, "num_envs": 2, "checkpoint_every": 100, "eval_every": 100, "buffer_size": 400}
    return experiment.start(tiny("dqn", folder, name="mine", **options), quiet=True).path


def refuse(monkeypatch, place, error):
    def run_out(*_, **__):
        raise error

    owner, name = place
    monkeypatch.setattr(owner, name, run_out)


def told(capsys):
    """The one line of an error that ran out of memory."""
    err = capsys.readouterr().err
    (line,) = [line for line in err.split("\n") if "error: " in line]
    assert line.startswith("error: out of memory (") and "smaller" in line and "Traceback" not in err, err
    assert "skipped" not in err, err
    return line


@pytest.mark.parametrize(("where", "who"), list(zip(STATE, itertools.cycle(ERRORS), strict=False)))
def test_a_resume_that_runs_out_of_memory_loses_no_checkpoint(tmp_path, monkeypatch, capsys, trained, where, who):
    run = shutil.copytree(trained, tmp_path / "mine")
    with monkeypatch.context() as patched:
        refuse(patched, STATE[where], ERRORS[who])
        assert main(["resume", str(run), "--steps", "500"]) == 2
    line = told(capsys)
    saved = checkpoint.steps(run / "checkpoints")
    assert f"; step {saved[-1]:,} is saved; go on with: rlgen resume {run}" in line
    assert saved[-1] >= 300 and not list(run.rglob(".tmp-*"))
    assert checkpoint.load(run / "checkpoints", saved[-1])


def test_what_goes_on_after_memory_ran_out_is_as_if_it_had_not(tmp_path, monkeypatch, trained):
    whole, run = (shutil.copytree(trained, tmp_path / name) for name in ("whole", "mine"))
    assert main(["resume", str(whole), "--steps", "500"]) == 0
    for where in ("the rows", "an update", "writing a checkpoint"):
        with monkeypatch.context() as patched:
            refuse(patched, STATE[where], ERRORS["torch"])
            assert main(["resume", str(run), "--steps", "500"]) == 2
    assert main(["resume", str(run)]) == 0
    assert comparable(run) == comparable(whole)


@pytest.mark.parametrize("command", ["eval", "fork"])
@pytest.mark.parametrize("where", ["reading a state", "the weights"])
def test_a_state_that_does_not_fit_in_memory_is_not_taken_for_a_damaged_one(
    tmp_path, monkeypatch, capsys, trained, command, where
):
    refuse(monkeypatch, STATE[where], ERRORS["torch"])
    assert main([command, str(trained), *(["--name", "fork", "--steps", "500"] if command == "fork" else [])]) == 2
    told(capsys)
    assert not (trained.parent / "fork").exists()


def test_memory_that_does_not_suffice_to_say_so_is_one_line_all_the_same(monkeypatch, capfd):
    refuse(monkeypatch, (commands, "dispatch"), ERRORS["Python"])
    refuse(monkeypatch, (commands, "safe"), ERRORS["Python"])
    assert main(["list", "runs"]) == 2
    assert capfd.readouterr().err == "error: out of memory: smaller batches, networks, buffers or images need less\n"


def test_a_figure_that_does_not_fit_in_memory_leaves_no_file(tmp_path, monkeypatch, capsys, trained):
    figure = pytest.importorskip("matplotlib.figure")
    refuse(monkeypatch, (figure.Figure, "savefig"), ERRORS["NumPy"])
    assert main(["compare", str(trained), "--out", str(tmp_path / "figure.png")]) == 2
    told(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("photos", (decode.Image, "open")),
        ("photos.zip", (zipped.zipfile, "ZipFile")),
        ("photos.zip", (zipped.zipfile.ZipFile, "open")),
        ("photos.npz", (npz, "header")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
def test_images_that_do_not_fit_in_memory_are_not_called_damaged(tmp_path, monkeypatch, capsys, name, place):
    (tmp_path / "photos").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "photos" / "a.png")
    shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "photos")
    np.savez(tmp_path / "photos.npz", images=np.zeros((4, 8, 8), np.uint8))
    refuse(monkeypatch, place, ERRORS["Python"])
    assert main(["preview", str(tmp_path / name), "--out", str(tmp_path / "grid.png")]) == 2
    told(capsys)


def test_memory_that_runs_out_in_the_process_of_an_environment_is_said_as_in_this_one(tmp_path, monkeypatch, capsys):
    (tmp_path / "greedy.py").write_text(
        "import gymnasium as gym, numpy as np\n"
        "class Greedy(gym.Env):\n"
        "    observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return np.zeros(2, np.float32), {}\n"
        "    def step(self, action):\n"
        "        raise MemoryError('no room for the map')\n"
    )
    monkeypatch.chdir(tmp_path)
    flags = ["--env", "greedy:Greedy", "--max-episode-steps", "9", "--no-env-check", "--wandb", "disabled"]
    assert main(["train", "ppo", *flags, "--vectorization", "async", "--num-envs", "2", "--name", "mine"]) == 2
    assert "(no room for the map)" in told(capsys)
