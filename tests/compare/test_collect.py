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
    assert len(names(env="CartPole-v1,Cart*")) == 4 and len(names("*", algo="d*")) == 4
    monkeypatch.chdir(runs.parent)
    assert sorted(entry.name for entry in collect(["runs/*__vae__*"], "elsewhere")) == ["digits__vae__1"]
    for words, filters, message in (
        (["nothing*"], {}, "fits no run"),
        (["nothing"], {}, "no run 'nothing'"),
        ([], {"algo": "ddpg"}, "no run to compare .*--algo ddpg; there are double_dqn, dqn, vae"),
        ([], {"algo": "dqn, ddpg"}, "no run to compare .*--algo ddpg"),
        ([], {"env": "Acro*"}, "no run to compare .*--env .*; there are CartPole-v1"),
        (["digits"], {"env": "CartPole-v1"}, "--env CartPole-v1; there are none"),
        (["digits", "CartPole-v1__dqn__1"], {"algo": "dqn", "data": "digits"}, "no run to compare"),
    ):
        with pytest.raises(UsageError, match=message):
            collect(words, str(runs), **filters)


def test_a_run_that_is_named_and_does_not_fit_a_filter_is_left_out_and_said(runs):
    make_pair(runs, seeds=2)
    make_run(runs, "vae", 1, data="digits")
    found = collect(["digits", "CartPole-v1__dqn__1", "*__double_dqn__*"], str(runs), algo="dqn")
    assert [entry.name for entry in found] == ["CartPole-v1__dqn__1"]
    assert found.left_out == [{"run": "digits__vae__1", "reason": "it does not fit --algo dqn"}]


def test_damaged_runs_are_left_out_with_the_reason_also_where_they_are_named(runs):
    make_pair(runs, seeds=2)
    (runs / "CartPole-v1__dqn__1" / "config.json").write_text("{")
    (runs / "CartPole-v1__dqn__2" / "summary.json").write_text("[]")
    for words in ([], ["*"], ["CartPole-v1__dqn__1", "CartPole-v1__dqn__2", "CartPole-v1__double_dqn__1"]):
        reasons = {each["run"]: each["reason"] for each in collect(words, str(runs)).left_out}
        assert set(reasons) == {"CartPole-v1__dqn__1", "CartPole-v1__dqn__2"}
        assert "config.json is damaged" in reasons["CartPole-v1__dqn__1"]
        assert "summary.json is damaged" in reasons["CartPole-v1__dqn__2"]
    with pytest.raises(UsageError, match=r"no run to compare in .*; CartPole-v1__dqn__1 is left out: .*damaged"):
        collect(["CartPole-v1__dqn__1"], str(runs))


def test_local_runs_and_those_of_a_project_together(api, tmp_path):
    api.runs = [cleanrl(seed=seed) for seed in range(5)]
    for seed in range(5):
        make_run(tmp_path, "ppo", seed)
    entries = collect(["lab/bench", str(tmp_path)])
    assert len(entries) == 10 and {entry.task for entry in entries} == {"CartPole"}
    (task,) = compare(entries, resamples=100)["tasks"]
    assert task["metric"] == "charts/episodic_return"
