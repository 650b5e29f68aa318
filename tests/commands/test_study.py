"""`rlgen study`: made, worked and shown by words alone."""

import json
import sys

import pytest

from rlgen.study import cost

CREATE = ["study", "create", "toy", "--algo", "dqn", "--over", "lr=1e-4:1e-2:log", "hidden=8/16,16"]
TINY = ["--no-preset", "--steps", "2000", "--learning-starts", "50", "--wandb", "disabled", "--batch-size", "8"]


@pytest.fixture
def priced(monkeypatch):
    monkeypatch.setattr(cost, "expected", lambda study: {"seconds": 60.0, "disk": 2**20})


def test_a_study_is_made_after_its_cost_is_said_and_shown(rlgen, tmp_path, priced):
    code, out, err = rlgen(*CREATE, *TINY, "--seeds", "100:102", "--trials", "3", "--prune", "median", "--gamma", "0.9")
    assert code == 0, err
    assert "3, of 2 seeds each: 6 runs of 2,000 steps, about 0:01:00 each" in out
    assert out.strip().endswith("train it: rlgen study work toy")
    text = (tmp_path / "runs/studies/toy/study.toml").read_text()
    assert 'lr = "1e-4:1e-2:log"' in text and "gamma = 0.9" in text and "batch_size = 8" in text
    code, out, _ = rlgen("study", "show", "toy")
    assert code == 0 and "none has begun; 3 of 3 not begun" in out
    assert json.loads(rlgen("study", "show", "toy", "--json")[1])["trials"] == []
    assert rlgen(*CREATE, *TINY)[0] == 2


def test_a_dry_run_makes_nothing(rlgen, tmp_path, priced):
    code, out, _ = rlgen(*CREATE, *TINY, "--dry-run")
    assert code == 0 and "60 runs" in out and "nothing was made" in out and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study"], "study what? rlgen study create|work|"),
        (["study", "destroy", "a"], "study what?"),
        (["study", "create", "a"], "which algorithm? Give --algo, one of "),
        (["study", "create", "a", "--algo", "dqm"], "dqm"),
        (["study", "create", "a", "--algo", "dqn"], "--over: say what is tried"),
        ([*CREATE, "--seed", "3"], "--seed: a study has --seeds"),
        ([*CREATE, "--name", "x"], "--name: a study's runs have its name"),
        ([*CREATE, "--lrr", "3"], "--lrr: there is no such option. Did you mean --lr?"),
        ([*CREATE, "--env", "CartPol-v1"], "CartPol-v1"),
        ([*CREATE, "--trials", "0"], "--trials 0: must be in [1, 10**6]"),
        (["study", "work", "toy"], "no study 'toy' in runs/studies"),
    ],
)
def test_a_mistake_is_one_line(rlgen, tmp_path, words, said):
    code, _, err = rlgen(*words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_every_word_has_a_page_of_its_own(rlgen):
    code, out, _ = rlgen("study", "--help")
    assert code == 0 and "create" in out and "work" in out
    assert "--trial-minutes" in rlgen("study", "create", "--help")[1]
    page = rlgen("study", "create", "--algo", "dqn", "--help")[1]
    assert "--over" in page and "--gamma" in page and "--seed " not in page
    assert "--jobs" in rlgen("study", "work", "--help")[1]


def test_without_the_extra_the_line_says_how_to_install_it(rlgen, monkeypatch, priced):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = rlgen(*CREATE, *TINY)
    assert code == 3 and "pip install 'optuna>=5' tomli-w" in err and len(err.strip().splitlines()) == 1
