"""Which device work runs on, and what of a run changes with it."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from line import Line
from tiny import tiny
from torch import nn

from rlgen import experiment, inference
from rlgen.core.source import EnvSource
from rlgen.errors import DamagedError, UsageError
from rlgen.runs.again import standing
from rlgen.speed.device import FEW_ENVS, SMALL, is_small
from rlgen.speed.gpu_source import GpuEnvSource

SHORT = {"steps": 300, "num_envs": 2, "eval_every": 300, "eval_episodes": 1, "vectorization": "native"}
MOVED = "approximate (it was on the GPU and is on the CPU now, which rounds otherwise and draws other numbers)"


def edit(path: Path, change: Any) -> None:
    info = json.loads((path / "config.json").read_text())
    change(info)
    (path / "config.json").write_text(json.dumps(info))


def has_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as it is only asked for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_no_environment_is_left_on_one_core_where_torch_binds_its_threads() -> None:
    """As clusters set it: ALE's threads were all on the core that importing torch puts the main thread on."""
    cores = sorted(os.sched_getaffinity(0))
    code = "import os, rlgen; from rlgen import experiment; print(sorted(os.sched_getaffinity(0)))"
    env = os.environ | {"OMP_PROC_BIND": "true"}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert len(cores) == 1 or json.loads(found.stdout) == cores


@pytest.mark.parametrize(
    ("nets", "num_envs", "expected"),
    [
        (nn.Sequential(nn.Linear(4, 128), nn.Linear(128, 128), nn.Linear(128, 2)), 8, True),
        (nn.Linear(SMALL - 1, 1), FEW_ENVS, True),
        (nn.Linear(SMALL, 1), 1, False),
        (nn.Linear(4, 2), FEW_ENVS + 1, False),
        (nn.Conv2d(1, 1, 3), 1, False),
        (nn.ModuleList([nn.Linear(4, 2), nn.Linear(SMALL, 1).requires_grad_(False)]), 1, True),
    ],
)
def test_small_networks_with_few_environments_are_for_the_cpu(nets: nn.Module, num_envs: int, expected: bool) -> None:
    assert is_small(nets, num_envs) is expected


def test_auto_leaves_the_gpu_alone_where_the_cpu_is_faster_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step of CartPole took about twice as long on the GPU's path as in all on the CPU."""
    has_gpu(monkeypatch)
    config = tiny("dqn", tmp_path, name="mine", **SHORT | {"device": "auto"})
    learner, source, _ = experiment.build(config)
    with closing(source):
        assert learner.device.type == "cpu" and type(source) is EnvSource
    assert experiment.settled(config)["device"] == "cpu" and config["device"] == "auto"

    monkeypatch.undo()
    run = experiment.start(config, quiet=True)
    assert run.config["device"] == "auto" and run.info["device"] == "cpu"
    assert json.loads((run.path / "config.json").read_text())["device"] == "cpu"
    has_gpu(monkeypatch)
    capsys.readouterr()
    experiment.notes.say_device(learner, config)
    experiment.notes.say_device(learner, config | {"device": "cpu"})
    assert capsys.readouterr().err == (
        "--device auto takes the CPU: networks of 226 numbers with 2 environments are faster there "
        "(--device cuda: the GPU)\n"
    )


@pytest.mark.parametrize("how", ["noted", "as an older version left it"])
def test_a_run_that_auto_put_on_a_gpu_goes_on_without_one_and_says_what_is_not_exact(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment.start(tiny("dqn", tmp_path, name="mine", **SHORT | {"device": "auto"}), quiet=True)

    def on_gpu(info: dict[str, Any]) -> None:
        info["device"] = "cuda"
        if how != "noted":
            del info["device"]
            info["hardware"]["gpus"] = ["one"]

    edit(run.path, on_gpu)
    capsys.readouterr()
    assert experiment.resume("mine", str(tmp_path), steps=400, quiet=True).info["device"] == "cpu"
    assert f"mine goes on at step {run.step}, {MOVED}" in capsys.readouterr().err
    experiment.resume("mine", str(tmp_path), steps=500, quiet=True)
    assert capsys.readouterr().err == "", "it has not moved again"


def test_a_run_of_device_cuda_goes_on_elsewhere_if_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There was no way to resume it without a GPU."""
    config = tiny("dqn", tmp_path, name="mine", **SHORT)
    run = experiment.start(config, quiet=True)
    edit(run.path, lambda info: (info["config"].update(device="cuda"), info.update(device="cuda")))
    with pytest.raises(UsageError, match=r"--device cuda: torch finds no CUDA device; use --device cpu"):
        experiment.resume("mine", str(tmp_path), steps=400, quiet=True)
    capsys.readouterr()
    assert experiment.resume("mine", str(tmp_path), steps=400, quiet=True, device="cpu").step >= 400
    assert MOVED in capsys.readouterr().err
    assert experiment.resume("mine", str(tmp_path), steps=500, quiet=True).config["device"] == "cpu"
    for device in ("auto", "cpu"):
        assert standing(config | {"device": device, "steps": 500}) == "finished", "a machine is no other option"


def test_the_device_of_an_evaluation_is_asked_for(tmp_path: Path) -> None:
    run = experiment.start(tiny("dqn", tmp_path, name="mine", **SHORT), quiet=True)
    edit(run.path, lambda info: info["config"].update(device="cuda"))
    for device in (None, "auto", "cpu"):
        assert inference.load(run.path, device=device).device.type == "cpu"
        assert inference.evaluate(run.path, episodes=1, device=device)["episodes"] == 1
    with pytest.raises(UsageError, match="torch finds no CUDA device"):
        inference.evaluate(run.path, episodes=1, device="cuda")


def test_an_edited_device_is_one_line(tmp_path: Path) -> None:
    run = experiment.start(tiny("dqn", tmp_path, name="mine", **SHORT), quiet=True)
    edit(run.path, lambda info: info.update(device="tpu"))
    with pytest.raises(DamagedError, match="device: must be one of cpu, cuda"):
        experiment.resume("mine", str(tmp_path), steps=400, quiet=True)


def test_a_generator_of_another_device_goes_on_with_other_numbers() -> None:
    """It began again with the numbers that the run had drawn first."""
    learners = [Line() for _ in range(3)]
    first = torch.randn(4, generator=Line().generator)
    for learner, last in zip(learners, (1, 1, 2), strict=True):
        state = learner.state_dict()
        state["_extra_state"]["generator"] = torch.tensor([0] * 15 + [last], dtype=torch.uint8)  # as on a GPU
        learner.load_state_dict(state)
    one, same, other = (torch.randn(4, generator=learner.generator) for learner in learners)
    assert torch.equal(one, same) and not torch.equal(one, other) and not torch.equal(one, first)


@pytest.mark.gpu
def test_auto_takes_the_gpu_for_networks_that_are_not_small(tmp_path: Path) -> None:
    for hidden, kind in (((512, 512), GpuEnvSource), ((32,), EnvSource)):
        config = tiny("dqn", tmp_path, name="mine", **SHORT | {"device": "auto", "hidden": hidden})
        learner, source, buffer = experiment.build(config)
        with closing(source):
            assert type(source) is kind and learner.device == buffer.backend.device
            assert (
                learner.device.type == experiment.settled(config)["device"] == ("cpu" if kind is EnvSource else "cuda")
            )
            source.fill(buffer, learner)


@pytest.mark.gpu
@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
@pytest.mark.parametrize("algo", ["dqn", "ppo", "gan"])
def test_a_run_goes_on_on_another_device(
    algo: str, devices: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = {} if algo == "gan" else {"num_envs": 2, "vectorization": "native"}
    run = experiment.start(tiny(algo, tmp_path, name="mine", device=devices[0], **agent), quiet=True)
    capsys.readouterr()
    resumed = experiment.resume("mine", str(tmp_path), steps=2 * run.step, quiet=True, device=devices[1])
    assert resumed.step >= 2 * run.step and resumed.info["device"] == devices[1]
    assert ("draws other numbers" in capsys.readouterr().err) == (devices[0] != devices[1])
    assert inference.load(run.path).num_updates > 10
