"""What several files begin with: a directory of runs, a comparison of many, and a fake of wandb's public API."""

import types

import pytest
from synthetic import make_run

from rlgen.compare import wandb_api
from rlgen.compare.collect import collect
from rlgen.compare.comparison import compare


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Two agents on two environments, one seed diverged and one unfinished, and two models."""
    runs = tmp_path_factory.mktemp("lab") / "runs"
    for env_id in ("CartPole-v1", "Acrobot-v1"):
        for seed in range(1, 6):
            make_run(runs, "dqn", seed, final=300.0 + seed, bias=30.0, env_id=env_id)
            make_run(runs, "double_dqn", seed, final=400.0 + seed, bias=3.0, env_id=env_id)
    make_run(runs, "dqn", 6, status="diverged", reached=20_000)
    make_run(runs, "double_dqn", 6, status=None, reached=20_000)
    for seed in range(1, 6):
        make_run(runs, "vae", seed, final=95.0 + seed, data="digits", extra={"eval/fd": 30.0 + seed})
        make_run(runs, "a|<b>", seed, final=90.0 + seed, data="digits", extra={"eval/fd": 20.0 + seed})
    return runs


@pytest.fixture(scope="session")
def comparison(lab):
    return compare(collect([], str(lab)), resamples=500)


@pytest.fixture
def api(monkeypatch):
    """The fake: what it was asked, and the runs it has."""
    asked = types.SimpleNamespace(runs=[], calls=[], default_entity="me")

    class Api:
        default_entity = "me"

        def __init__(self, timeout):
            asked.timeout = timeout

        def runs(self, path, filters, lazy):
            asked.calls.append((path, filters, lazy))
            if path == "lab/missing":
                raise ValueError("Could not find project missing\nmore")
            return iter(asked.runs)

    monkeypatch.setattr("wandb.Api", Api)
    monkeypatch.setattr(wandb_api, "why_offline", lambda settings: "")
    return asked
