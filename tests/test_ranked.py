"""Runs that several processes train, started by torchrun."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import comparable, tiny

from rlgen import experiment, ranked
from rlgen.commands import main
from rlgen.core.ranks import Ranks
from rlgen.errors import RankLostError, UsageError
from rlgen.options import algorithms, shares
from rlgen.options.config import options
from rlgen.options.shares import number, share
from rlgen.runs import stopping
from rlgen.runs.files import write_json
from rlgen.runs.ranked import RankedRun, check_whole, directory
from rlgen.runs.run import Run

TRAIN = "train dqn --prioritized --num-envs 2 --steps 6000 --no-preset --hidden 32 --wandb disabled"
TRAIN += " --eval-episodes 2 --threads 1 --learning-starts 200 --log-every 200 --eval-every 2000 --checkpoint-every 400"


def launch(folder: Path, command: str) -> subprocess.Popen[str]:
    """Two ranks, in a process group of their own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [*launcher, "-m", "rlgen", *command.split(), "--runs-dir", str(folder)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)


def finish(process: subprocess.Popen[str]) -> str:
    """What it wrote to stderr, once it has ended."""
    try:
        return process.communicate(timeout=240)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def weights(path: Path) -> str:
    """The digest of the networks at the end."""
    return str(json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])["weights"])


def ranks_of(parent: int) -> list[int]:
    """Processes that a launcher has started, in the order of their start."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until a file is there."""
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("ranks")
    process = launch(folder, f"{TRAIN} --name whole")
    said = finish(process)
    assert process.returncode == 0, said
    assert weights(folder / "whole") == weights(folder / "whole" / "ranks" / "1")
    return folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["kill a rank", "kill rank 0", "SIGTERM"])
def test_ranks_that_stop_go_on_bit_for_bit(stop: str, whole: Path, tmp_path: Path) -> None:
    run = launch(tmp_path, f"{TRAIN} --name run")
    wait_for(tmp_path / "run" / "ranks" / "1" / "checkpoints" / "step_000001200", run)
    if stop == "SIGTERM":
        run.terminate()
    else:
        os.kill(ranks_of(run.pid)[stop == "kill a rank"], signal.SIGKILL)
    said = finish(run)
    assert run.returncode
    assert "rlgen/commands" not in said  # a traceback of torchrun's own may be there
    assert ("stopped by SIGTERM, saved" if stop == "SIGTERM" else "error: another rank has ended") in said
    assert "torchrun --nproc-per-node 2 -m rlgen resume" in said

    with pytest.raises(UsageError, match="2 of torchrun's processes trained run, not 1"):
        experiment.resume("run", str(tmp_path))
    again = launch(tmp_path, "resume run")
    said = finish(again)
    assert again.returncode == 0, said
    assert weights(tmp_path / "run") == weights(whole)
    assert comparable(tmp_path / "run") == comparable(whole)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NCCL takes a GPU a rank")
@pytest.mark.parametrize("algo", ["dqn", "ppo", "vae", "gan"])
def test_ranks_on_gpus_have_the_same_networks(algo: str, tmp_path: Path) -> None:
    options = "--num-envs 2 --eval-episodes 2" if algo in ("dqn", "ppo") else ""
    command = f"train {algo} {options} --steps 4096 --no-preset --wandb disabled --device cuda --name run"
    run = launch(tmp_path, command)
    said = finish(run)
    assert run.returncode == 0, said
    assert weights(tmp_path / "run") == weights(tmp_path / "run" / "ranks" / "1")
    again = launch(tmp_path, "resume run --steps 6144")
    said = finish(again)
    assert again.returncode == 0, said


def test_flags_are_of_the_whole_run(tmp_path: Path) -> None:
    config = tiny("dqn", tmp_path, num_envs=4, train_every=8, target_every=48)
    own = share(config, options(algorithms.find("dqn")), 4)
    changed = {name: (config[name], own[name]) for name in config if config[name] != own[name]}
    sizes = {"num_envs": (4, 1), "batch_size": (16, 4), "buffer_size": (500, 125), "learning_starts": (64, 16)}
    assert changed == sizes | {"train_every": (8, 2), "target_every": (48, 12)}


def test_all_that_cannot_be_divided_is_said_at_once(tmp_path: Path) -> None:
    config = tiny("dqn", tmp_path, num_envs=4, train_every=9, buffer_size=501, learning_starts=60, target_every=48)
    said = "^num_envs 4, batch_size 16 cannot be divided by 3 ranks; try --num-envs 3 --batch-size 15$"
    with pytest.raises(UsageError, match=said):
        share(config, options(algorithms.find("dqn")), 3)


@pytest.mark.parametrize(
    "given, said", [({"normalize_obs": True}, "--normalize-obs"), ({"keep": 1}, "--keep 1 does not work with torchrun")]
)
def test_what_ranks_cannot_do_is_said(given: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        ranked.check(tiny("ppo", tmp_path, **given))


def test_novelty_is_refused_and_one_rank_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, source, _ = experiment.build(tiny("ppo", tmp_path, rnd=0.5))
    source.close()
    monkeypatch.setattr(shares, "have_met", True)
    with pytest.raises(UsageError, match="--rnd does not work with torchrun"), ranked.found_by_all():
        ranked.check_learner(learner)
    assert not shares.have_met


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # some clusters set it for every program
    assert number() == 1
    monkeypatch.setenv("RANK", "0")
    assert number() == 4
    monkeypatch.setenv("WORLD_SIZE", "four")
    with pytest.raises(UsageError, match="WORLD_SIZE is 'four'"):
        number()


@pytest.mark.parametrize("words", ["study show toy", "fork last --set lr=1", "verify last", "bench"])
def test_what_every_rank_would_do_once_more_is_refused(words, monkeypatch, capsys) -> None:
    """Two ranks that make one study, or one fork, are in each other's way."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = words.split()[0]
    assert main(words.split()) == 2
    said = f"torchrun trains one run, by train or resume: start rlgen {command} without it"
    assert capsys.readouterr().err == f"error: {said}\n"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_one_process_of_a_machine_says_what_all_find(
    rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "dqn", "--no-such-flag"]) == UsageError.exit_code
    assert main(["list", "algos"]) == 0
    said = capsys.readouterr()
    assert bool(said.err) == bool(said.out) == (rank == "0")
    monkeypatch.setattr(shares, "have_met", True)
    main(["train", "dqn", "--no-such-flag"])
    assert capsys.readouterr().err  # from now on each has mistakes of its own


def test_a_rank_that_is_left_says_what_is_lost_though_torchrun_ends_it(tmp_path, monkeypatch) -> None:
    """Its SIGTERM comes within a tenth of a second, when the run does not listen any more."""

    def lost(*args, **options) -> None:
        with stopping.handling():
            raise RankLostError("another rank has ended")

    monkeypatch.setattr(ranked, "run_to_end", lost)
    monkeypatch.setattr(ranked, "shared", lambda *args: None)
    run, before = RankedRun.create(tmp_path, "run", tiny("dqn", tmp_path)), signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RankLostError):
            ranked.go(run, Ranks(0, 2), SimpleNamespace(), None, None)  # type: ignore[arg-type]
        assert callable(signal.getsignal(signal.SIGTERM))
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(ranked, "run_to_end", lambda *args, **options: None)
        signal.signal(signal.SIGTERM, before)
        ranked.go(run, Ranks(0, 2), SimpleNamespace(), None, None)  # type: ignore[arg-type]
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_line_that_goes_on_is_for_as_many_ranks(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "run", tiny("dqn", tmp_path))
    run.info["ranks"] = 3
    assert run.command("resume").startswith("torchrun --nproc-per-node 3 -m rlgen resume ")
    assert run.command("eval").startswith("rlgen eval ")


def test_a_run_lacks_what_a_rank_had(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "run", tiny("dqn", tmp_path))
    write_json(run.path / "config.json", run.info | {"ranks": 2})
    with pytest.raises(UsageError, match="2 of torchrun's processes trained run, not 3"):
        check_whole(run.path, 3)
    with pytest.raises(UsageError, match=r"ranks/1/config.json is gone, and so what rank 1 of run had"):
        check_whole(run.path, 2)


def test_saved_is_what_every_rank_has_saved(tmp_path: Path) -> None:
    run = RankedRun.create(tmp_path, "run", tiny("dqn", tmp_path))
    for rank, steps in enumerate([("step_000000300", "step_000000600"), ("step_000000300",)]):
        for step in steps:
            (directory(run.path, rank) / "checkpoints" / step).mkdir(parents=True)
    write_json(directory(run.path, 1) / "config.json", run.info)
    for rank in range(2):  # the disk of rank 1 was full at step 600
        own = RankedRun.open(directory(run.path, rank))
        own.ranks = Ranks(rank, 2)
        assert own.usable() == [300]
