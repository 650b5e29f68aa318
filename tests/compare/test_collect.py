"""Which runs words and filters stand for."""

import pytest
from comparing import make_pair
from synthetic import make_run
from wandb_project import cleanrl

from rlgen.compare.collect import collect
from rlgen.compare.comparison import compare
from rlgen.errors import UsageError


def test_runs_are_found_by_name_prefix_glob_directory_and_filter(runs, monkeypatch):
    make_pair(runs, seeds=2)
    make_run(runs, "vae", 1, data="digits")
    names = lambda *words, **filters: sorted(entry.name for entry in collect(words, str(runs), **filters))  # noqa: E731
    assert names("CartPole-v1__dqn__1") == ["CartPole-v1__dqn__1"]
    assert names("digits") == ["digits__vae__1"]
    assert names("*__dqn__*") == ["CartPole-v1__dqn__1", "CartPole-v1__dqn__2"]
    assert names(str(runs / "digits__vae__1")) == names(data="dig*") == names(algo="vae") == ["digits__vae__1"]
    assert len(names()) == len(names(str(runs))) == len(names(str(runs), "*__dqn__*")) == 5
    assert len(names(env="CartPole-v1,Acrobot-v1")) == 4 and len(names("*", algo="d*")) == 4
    monkeypatch.chdir(runs.parent)
    assert sorted(entry.name for entry in collect(["runs/*__vae__*"], "elsewhere")) == ["digits__vae__1"]
    for words, filters, message in (
        (["nothing*"], {}, "fits no run"),
        (["nothing"], {}, "no run 'nothing'"),
        ([], {"algo": "ddpg"}, "no run to compare .* --algo ddpg"),
    ):
        with pytest.raises(UsageError, match=message):
            collect(words, str(runs), **filters)


def test_local_runs_and_those_of_a_project_together(api, tmp_path):
    api.runs = [cleanrl(seed=seed) for seed in range(5)]
    for seed in range(5):
        make_run(tmp_path, "ppo", seed)
    entries = collect(["lab/bench", str(tmp_path)])
    assert len(entries) == 10 and {entry.task for entry in entries} == {"CartPole"}
    (task,) = compare(entries, resamples=100)["tasks"]
    assert task["metric"] == "charts/episodic_return"
