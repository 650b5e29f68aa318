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
        (["study"], "study what? rlgen study create|ablate|work|"),
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
        (["study", "ablate", "dqn"], "--over: say what is tried"),
        (["study", "ablate", "dqm", "--over", "lr"], "dqm"),
        (["study", "ablate", "dqn", "--over", "gamma"], "--over gamma: list its values, as gamma=A/B/C"),
        (["study", "ablate", "dqn", "--over", "lr=1/2", "--seed", "3"], "--seed: a study has --seeds"),
        (["study", "ablate", "dqn", "--over", "lr=1/2", "--json"], "--json is for the tables of an ablation"),
    ],
)
def test_a_mistake_is_one_line(rlgen, tmp_path, words, said):
    code, _, err = rlgen(*words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_an_ablation_is_made_of_an_algorithm_and_shown_by_its_name(rlgen, tmp_path, priced):
    words = ["--over", "anneal_lr", "n_step=1/3", "--tune", "n_step:lr=1e-4/1e-3", *TINY]
    code, out, err = rlgen("study", "ablate", "dqn", *words, "--name", "what-matters")
    assert code == 0, err
    assert "4 cells, of 5 seeds each, after 4 of 3 tuning seeds: 32 runs of 2,000 steps" in out
    assert out.strip().endswith("train it: rlgen study work what-matters")
    code, out, _ = rlgen("study", "ablate", "what-matters")
    assert code == 0 and "0 of 4 cells finished" in out and "anneal_lr" in out
    assert "0 of 4 cells finished" in rlgen("study", "show", "what-matters")[1]
    assert json.loads(rlgen("study", "ablate", "what-matters", "--json")[1])["seeds"] == [0, 1, 2, 3, 4]
    assert "--tuning-seeds" in rlgen("study", "ablate", "--help")[1]
    assert "--gamma" in rlgen("study", "ablate", "dqn", "--help")[1]


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
