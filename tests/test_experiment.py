"""Training from Python and from the command line, on images."""

import json

import numpy as np
import pytest
from image_files import save_images
from tiny import tiny

import rlgen
from rlgen import experiment, inference
from rlgen.commands import main
from rlgen.core.learner import Generative
from rlgen.data import given
from rlgen.errors import CheckpointError, DivergedError, UsageError
from rlgen.options.config import resolve
from rlgen.runs.again import standing
from rlgen.runs.rows import read_metrics

IMAGES = np.random.RandomState(0).randint(0, 256, (50, 4, 4), np.uint8)


@pytest.fixture
def fast(tmp_path):
    return {
        "runs_dir": str(tmp_path / "runs"),
        "hidden": [8],
        "latent": 2,
        "batch_size": 5,
        "nll_samples": 2,
        "wandb": "disabled",
        "device": "cpu",
        "quiet": True,
    }


def test_epochs_are_another_way_to_say_steps(fast):
    run = rlgen.train("vae", data=IMAGES, epochs=4, holdout=0.2, name="e", **fast)
    assert run.config["steps"] == run.step == 160 and run.config["eval_every"] == 16
    same = rlgen.train("vae", data=IMAGES, steps=160, holdout=0.2, name="s", **fast)
    losses = [[row["losses/elbo"] for row in read_metrics(one.path) if "losses/elbo" in row] for one in (run, same)]
    assert losses[0] == losses[1] and len(losses[0]) > 3


def test_epochs_are_filled_in_for_every_seed_and_for_a_dry_run(fast, capsys, tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    words = ["train", "vae", "--data", str(tmp_path / "x.npy"), "--epochs", "2", "--runs-dir", fast["runs_dir"]]
    words += ["--wandb", "disabled", "--batch-size", "5", "--nll-samples", "2", "--name", "two", "--device", "cpu"]
    assert main([*words, "--dry-run"]) == 0
    assert "for 90 steps" in capsys.readouterr().out
    assert main([*words, "--seeds", "0:2"]) == 0
    for seed in (0, 1):
        config = json.loads((tmp_path / "runs" / f"two-{seed}" / "config.json").read_text())["config"]
        assert (config["steps"], config["epochs"]) == (90, 2.0)


def test_epochs_and_steps_in_one_place_are_refused_and_the_higher_layer_wins(tmp_path):
    with pytest.raises(UsageError, match="--epochs with --steps: give one"):
        resolve("vae", {"epochs": 2, "steps": 100})
    (tmp_path / "x.yaml").write_text("epochs: 3\n")
    assert resolve("vae", {"config": str(tmp_path / "x.yaml"), "steps": 100}).config["epochs"] is None
    config = resolve("vae", {"config": str(tmp_path / "x.yaml")}).config  # above the preset's steps
    assert (config["epochs"], config["steps"], config["eval_every"]) == (3.0, None, None)
    with pytest.raises(UsageError, match="epochs: dqn is an agent: it trains for --steps"):
        resolve("dqn", {"epochs": 2})


def test_a_run_of_epochs_is_resumed_by_the_same_command_and_forked_with_steps(fast, tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    options = {"data": str(tmp_path / "x.npy"), "name": "e", "epochs": 2, **fast}
    run = rlgen.train("vae", **options)
    options.pop("quiet")
    assert standing(resolve("vae", options).config) == "finished"
    with pytest.raises(UsageError, match="other options"):
        standing(resolve("vae", options | {"epochs": 3}).config)
    longer = experiment.fork("e", {"steps": 200}, fast["runs_dir"], "f", quiet=True)
    assert (longer.step, longer.config["epochs"]) == (200, None)
    assert experiment.fork("e", {"epochs": 3}, fast["runs_dir"], "g", quiet=True).step == 135 > run.step


def test_images_may_be_an_array_and_resume_needs_them_again(fast, monkeypatch):
    run = rlgen.train("vae", data=(IMAGES, np.arange(50) % 2), steps=50, name="a", **fast)
    assert run.config["data"].startswith("array-") and run.info["spec"]["num_classes"] == 2
    monkeypatch.setattr(given, "HELD", {})  # as in another process
    with pytest.raises(UsageError, match=r"pass it again, as in rlgen.resume\(run, data=images\)"):
        rlgen.resume("a", fast["runs_dir"], steps=100)
    with pytest.raises(UsageError, match="passed from Python"):
        rlgen.resume("a", fast["runs_dir"], steps=100, data=IMAGES[::-1])
    assert rlgen.resume("a", fast["runs_dir"], steps=100, quiet=True, data=(IMAGES, np.arange(50) % 2)).step == 100


def test_a_model_is_judged_on_the_test_images_where_that_is_asked_for(fast, tmp_path):
    for part, num in (("train", 9), ("val", 3), ("test", 5)):
        save_images(tmp_path / "photos" / part, num, size=(4, 4), seed=num)
    rlgen.train("vae", data=tmp_path / "photos", steps=20, name="v", **fast)
    assert inference.evaluate("v", fast["runs_dir"])["images"] == 3
    assert inference.evaluate("v", fast["runs_dir"], split="test")["images"] == 5
    assert main(["eval", "v", "--split", "test", "--runs-dir", fast["runs_dir"]]) == 0


def test_what_was_read_is_one_line_on_stderr(fast, capsys):
    fast.pop("quiet")
    rlgen.train("vae", data=IMAGES, steps=20, name="line", **fast)
    assert capsys.readouterr().err.count("45 training and 5 held-out images, 4x4, grey; a tenth is held out") == 1


def test_a_run_that_took_no_update_says_so(fast, monkeypatch, capsys):
    fast.pop("quiet")
    monkeypatch.setattr(Generative, "batches", lambda self, buffer: iter(()))
    rlgen.train("vae", data=IMAGES, steps=20, name="idle", **fast)
    assert "warning: nothing was learned: vae took no update in 20 steps" in capsys.readouterr().err
    monkeypatch.undo()
    rlgen.train("vae", data=IMAGES, steps=20, name="busy", **fast)
    assert "nothing was learned" not in capsys.readouterr().err


def test_a_resume_that_finds_no_checkpoint_leaves_what_is_said_of_the_end(tmp_path):
    config = tiny("dqn", tmp_path, env="counting:Broken-reward-v0", name="mine", env_check=False)
    with pytest.raises(DivergedError, match="non-finite reward"):
        experiment.start(config, quiet=True)
    said = {name: (tmp_path / "mine" / name).read_text() for name in ("summary.json", "error.txt")}
    assert json.loads(said["summary.json"])["status"] == "diverged"
    assert json.loads(said["summary.json"])["health"]["reason"].startswith(
        "the environment returned what is not finite"
    )
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        experiment.resume("mine", tmp_path, quiet=True)
    assert {name: (tmp_path / "mine" / name).read_text() for name in said} == said
    for name in ("summary.json", "error.txt"):
        (tmp_path / "mine" / name).unlink()  # as after a kill
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        experiment.resume("mine", tmp_path, quiet=True)
    assert not (tmp_path / "mine" / "summary.json").exists() and not (tmp_path / "mine" / "error.txt").exists()
