"""One command that may be sent again and again: it trains, goes on, or has nothing to do."""

import json
import shutil

import pytest

from rlgen.commands import main
from rlgen.errors import UsageError
from rlgen.options import config
from rlgen.runs.again import standing
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run

TINY = "--steps 60 --learning-starts 20 --batch-size 4 --hidden 4 --eval-episodes 1 --threads 1 --wandb disabled"


def train(tmp_path, *words):
    flags = [*TINY.split(), "--name", "job", "--resume-if-exists", "--runs-dir", str(tmp_path), *words]
    return main(["train", "dqn", "--env", "CartPole-v1", "--no-preset", *flags])


def untimed(path):
    return [{k: v for k, v in row.items() if k not in ("time", "charts/SPS")} for row in read_metrics(path)]


def test_it_trains_then_goes_on_then_has_nothing_to_do(tmp_path, capsys):
    assert train(tmp_path) == 0
    path = tmp_path / "job"
    whole = untimed(path)
    shutil.rmtree(path / "checkpoints" / "step_000000060")
    (path / "summary.json").unlink()  # as after a kill between the last two checkpoints
    assert train(tmp_path) == 0 and untimed(path) == whole
    before = (path / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    assert train(tmp_path) == 0 and (path / "metrics.jsonl").stat().st_mtime_ns == before
    assert "job is finished" in capsys.readouterr().out


def test_what_was_killed_before_its_first_checkpoint_begins_again(tmp_path):
    assert train(tmp_path) == 0
    shutil.rmtree(tmp_path / "job" / "checkpoints")
    (tmp_path / "job" / "summary.json").unlink()
    whole = untimed(tmp_path / "job")
    assert train(tmp_path) == 0 and untimed(tmp_path / "job") == whole


def test_other_options_are_refused_in_a_line_that_names_them(tmp_path, capsys):
    assert train(tmp_path) == 0
    assert train(tmp_path, "--lr", "0.5", "--eval-every", "30") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "lr 0.0005, not 0.5" in message and "eval_every" in message and "hidden" not in message
    assert json.loads((tmp_path / "job" / "config.json").read_text())["config"]["lr"] == 5e-4


@pytest.mark.parametrize("words", [["--seeds", "0:2", "--name", "job"], []])
def test_it_is_of_one_run_with_a_name(capsys, words):
    assert main(["train", "dqn", "--resume-if-exists", *words]) == 2
    assert "needs a --name, and no --seeds" in capsys.readouterr().err


def test_a_run_from_before_an_option_is_gone_on_with(tmp_path):
    """A job that is queued again gives no flag of it, and has the default."""
    given = config.resolve("dqn", {"name": "mine", "runs_dir": str(tmp_path)}).config
    old = {name: value for name, value in given.items() if name not in ("wandb_entity", "wandb_group", "wandb_tags")}
    run = Run.create(tmp_path, "mine", old)
    (run.checkpoints / "step_000000010").mkdir(parents=True)
    (run.checkpoints / "step_000000010" / "manifest.json").write_text(json.dumps({"format": 1}))
    assert standing(given) == "unfinished"
    with pytest.raises(UsageError, match="wandb_group None, not mine"):
        standing(given | {"wandb_group": "mine"})
