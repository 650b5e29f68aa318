"""What a study costs is said before anything starts."""

import json
import re
from types import SimpleNamespace

import pytest
from toy_study import created, planned

from rlgen.bench import estimate as estimates
from rlgen.errors import UsageError
from rlgen.study import cost


def test_all_runs_count_and_the_seeds_that_train_at_a_time(tmp_path):
    study = planned(tmp_path, trials=10, sampler="random", seeds="100:103")
    text = cost.whole(study, {"seconds": 60.0, "disk": 2**20}, 2)
    assert "10, of 3 seeds each: 30 runs of 100 steps, about 0:01:00 each" in text
    assert re.search(r"30.0 MiB at most, [\d.]+ .iB are free", text)
    assert re.search(r"0:20:00 with --jobs 2, so until \w+ \d+ \w+ \d\d:\d\d; with K workers a K-th of it$", text)
    assert "0:10:00 with --jobs 3" in cost.when(study, {"seconds": 60.0, "disk": 1}, 10, 8)


def test_more_than_the_disk_has_is_said(tmp_path, capsys):
    cost.whole(planned(tmp_path), {"seconds": 1.0, "disk": 2**60}, 1)
    assert "the runs may need" in capsys.readouterr().err


def test_a_run_with_the_last_values_is_tried_and_every_rung_starts_a_process(tmp_path, monkeypatch):
    tried = []

    def estimate(config):
        tried.append(config)
        raise LookupError

    monkeypatch.setattr(estimates, "estimate", estimate)
    study = planned(tmp_path, over=("lr=0.25/0.5", "hidden=8/16,16"))
    with pytest.raises(LookupError):
        cost.expected(study)
    assert (tried[0]["lr"], tried[0]["hidden"], tried[0]["seed"]) == (0.5, (16, 16), 100)


def test_first_values_that_cannot_be_built_are_refused_before_half_of_the_trials_fail_for_it(tmp_path):
    study = planned(tmp_path, over=("optimizer=adam/sgd", "momentum=0.5/0.9"))
    with pytest.raises(UsageError, match=r"--momentum 0.5 with --optimizer adam: it is of rmsprop and sgd"):
        cost.expected(study)


def test_runs_that_are_finished_say_what_the_others_take(tmp_path):
    study = created(tmp_path)
    assert cost.now(study) == {"seconds": 1.0, "disk": 1000}
    for name, summary in (("a", {"time": 10.0}), ("b", {"time": 30.0}), ("c", {"status": "crashed", "time": 9.0})):
        (study.runs_dir / name).mkdir(parents=True)
        (study.runs_dir / name / "summary.json").write_text(json.dumps({"status": "finished"} | summary))
    assert cost.now(study) == {"seconds": 25.0, "disk": 1000}


def test_a_metric_that_a_model_has_not_is_refused_before_every_trial_fails_for_it(tmp_path, monkeypatch):
    """A GAN has no likelihood, and the score of a study of images is the NLL where nothing is said."""
    times = {"total": SimpleNamespace(about=1.0)}
    found = SimpleNamespace(judged=("eval/d_gap", "samples/grid"), parts=times, needs=SimpleNamespace(disk=1))
    monkeypatch.setattr(estimates, "estimate", lambda config: found)
    with pytest.raises(UsageError, match=r"--metric eval/nll: dqn has eval/d_gap; give one of these, as NAME:higher"):
        cost.expected(planned(tmp_path, metric="eval/nll"))
    for metric in ("eval/d_gap:lower", "losses/mine:lower"):
        assert cost.expected(planned(tmp_path, metric=metric))["disk"] == 1
