"""Runs of wandb projects in a comparison, and a comparison as wandb views.

No server is asked here: `wandb.Api` is a fake that gives what the public API's objects give (`config`, `state`,
`summary_metrics`, `scan_history` of rows that hold every key), so these tests say what we do with its answers, and not
that a server gives such answers or takes our filters and views. Where nothing answers, wandb itself is asked.
"""

import json
import sys
import time
import types

import numpy as np
import pytest
from synthetic import make_run

from rlgen.commands import main as cli
from rlgen.compare import wandb_runs as remote
from rlgen.compare.collect import collect
from rlgen.compare.judge import compare
from rlgen.errors import UsageError


class FakeRun:
    """As `wandb.apis.public.Run`."""

    entity, project = "lab", "bench"

    def __init__(self, config, rows, state="finished", **summary):
        self.config, self.rows, self.state, self.scans = config, rows, state, []
        self.id = self.name = f"{config.get('exp_name')}-{config.get('seed')}"
        self.summary_metrics = {key: value for row in rows for key, value in row.items()} | summary

    def scan_history(self, keys):
        self.scans.append(keys)
        return (row for row in self.rows if all(key in row for key in keys))


def cleanrl(name="dqn", seed=1, final=400.0, state="finished", reached=50_000, more=(), **options):
    """A run with CleanRL's names: its last episode ends a little before the last step."""
    config = {"exp_name": name, "env_id": "CartPole-v1", "seed": seed, "total_timesteps": 50_000, "track": True}
    rows = [
        {"global_step": s - 7, "_runtime": s / 1_000, "charts/episodic_return": final * s / 50_000}
        for s in range(1_000, reached + 1, 1_000)
    ]
    rows[1:1] = [{"global_step": 1_500, "_runtime": 1.5, "losses/td_loss": 0.1}]
    return FakeRun(config | options, [*rows, *more], state, global_step=reached - 7, _runtime=reached / 1_000)


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
    monkeypatch.setattr(remote, "why_offline", lambda settings: "")
    return asked


def six(api, **options):
    for seed in range(6):
        api.runs += [cleanrl("dqn", seed, 300.0 + seed, **options), cleanrl("c51", seed, 400.0 + seed, **options)]


def test_runs_of_a_project_are_compared_as_local_ones_are(api):
    six(api)
    entries = collect(["lab/bench"])
    assert not any(run.scans for run in api.runs)  # nothing is read before it is asked for
    (task,) = compare(entries, resamples=500)["tasks"]
    assert task["metric"] == "charts/episodic_return" and task["ranked"] and not task["warnings"]
    assert [row["group"] for row in task["groups"]] == ["c51", "dqn"]  # exp_name; `track` is no option of learning
    assert task["groups"][0]["seeds"] == 6 and task["pairs"][0]["probability"] == 1.0
    assert task["groups"][1]["scores"][0] == pytest.approx(300 * 0.96, rel=0.02)  # the last tenth
    assert task["groups"][0]["seconds"] == 50.0 and task["steps"] == 50_000
    assert all(run.scans == [["global_step", "_runtime", "charts/episodic_return"]] for run in api.runs)


def test_filters_reach_the_public_api(api):
    six(api)
    collect(["lab/bench?algo=dqn,c51&env_id=CartPole-v1&tag=paper&seed=1"], algo="dqn")
    names = {"$in": ["dqn", "c51"]}
    conditions = [
        {"$or": [{"config.algo": names}, {"config.exp_name": names}]},
        {"$or": [{"config.env_id": {"$in": ["CartPole-v1"]}}]},
        {"$or": [{"tags": {"$in": ["paper"]}}]},
        {"$or": [{"config.seed": {"$in": ["1", 1]}}]},
    ]
    assert api.calls == [("lab/bench", {"$and": conditions}, False)]
    assert len(collect(["lab/bench"], algo="dqn")) == 6
    with pytest.raises(UsageError, match="no run to compare"):
        collect(["lab/bench"], env="Acrobot-v1")


def test_local_runs_and_those_of_a_project_together(api, tmp_path):
    api.runs = [cleanrl(seed=seed) for seed in range(5)]
    for seed in range(5):
        make_run(tmp_path, "ppo", seed)
    entries = collect(["lab/bench", str(tmp_path)])
    assert len(entries) == 10 and {entry.task for entry in entries} == {"CartPole"}
    (task,) = compare(entries, resamples=100)["tasks"]
    assert task["metric"] == "charts/episodic_return"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("lab/bench", True), ("lab/bench?seed=1", True), ("runs/x", False), ("runs/x?", False), ("a/b/c", False),
     ("runs/x?tag=b", True), ("*__dqn__*", False), ("./lab/bench", False), ("last", False)],
)  # fmt: skip
def test_what_is_a_project_and_what_a_path(word, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert remote.is_source(word) == expected


def test_a_failed_run_counts_and_one_that_crashed_or_stopped_early_is_unfinished(api):
    six(api)
    api.runs += [
        cleanrl("dqn", 6, state="failed", reached=9_000),
        cleanrl("dqn", 7, state="crashed", reached=9_000),
        cleanrl("dqn", 8, state="running", reached=9_000),
        cleanrl("dqn", 9, state="finished", reached=9_000),
    ]
    (task,) = compare(collect(["lab/bench"]), resamples=100)["tasks"]
    row = task["groups"][1]
    assert (row["runs"], row["seeds"], row["failed"], row["unfinished"], row["running"]) == (10, 7, 1, 3, 1)
    assert min(row["scores"]) == task["worst"] and row["scores"].count(task["worst"]) == 1


def test_steps_that_a_resumed_run_took_again_are_read_once(api):
    run = cleanrl()
    run.rows += [{"global_step": s, "_runtime": 60.0, "charts/episodic_return": 1.0} for s in (40_000, 45_000)]
    run.rows += [{"global_step": 46_000, "_runtime": 61.0, "charts/episodic_return": "NaN"}]
    api.runs = [run]
    steps, _, values = collect(["lab/bench"])[0].series("charts/episodic_return")
    assert (np.diff(steps) > 0).all() and list(steps[-3:]) == [39_993, 40_000, 45_000] and values[-1] == 1.0


def test_an_evaluation_that_counts_episodes_is_one_figure(api):
    """CleanRL logs the episodes of its last evaluation at steps 0, 1, 2, ..."""
    more = [{"global_step": i, "_runtime": 51.0, "eval/episodic_return": 100.0 * i} for i in range(5)]
    api.runs = [cleanrl(more=more)]
    (entry,) = collect(["lab/bench"])
    assert entry.evaluations == ["eval/episodic_return"] and entry.final("eval/episodic_return", None) == 200.0
    assert entry.series("eval/episodic_return")[0] == 50_000


def test_our_own_runs_have_summaries_of_several_values_and_say_how_they_ended(api):
    config = {"algo": "dqn", "exp_name": "dqn", "env_id": "CartPole-v1", "seed": 1, "steps": 20, "lr": 0.1}
    rows = [{"global_step": step, "_runtime": 1.0, "eval/episodic_return": 5.0} for step in (10, 20)]
    best = {"eval/episodic_return": {"max": 7.0, "last": 5.0}, "eval/video": {"_type": "video-file"}}
    api.runs = [
        FakeRun(config, rows, **best),
        FakeRun(config | {"seed": 2}, rows[:1], "failed", status="interrupted"),
    ]
    one, other = collect(["lab/bench"])
    assert one.evaluations == ["eval/episodic_return"] and one.final("eval/episodic_return", None) == 5.0
    assert one.step == 20 and other.status == "interrupted" and not other.failed


def test_runs_that_do_not_say_what_they_are_are_left_out_with_a_note(api, capsys):
    api.runs = [cleanrl(), FakeRun({"lr": 1}, [])]
    assert len(collect(["lab/bench"])) == 1
    assert "1 runs of lab/bench left out" in capsys.readouterr().err
    api.runs = api.runs[1:]
    with pytest.raises(UsageError, match=r"no run to compare in wandb's lab/bench"):
        collect(["lab/bench"])


def test_a_missing_project_or_a_broken_history_is_one_line(api, capsys):
    assert cli.main(["compare", "lab/missing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    api.runs = [cleanrl()]
    (entry,) = collect(["lab/bench"])
    api.runs[0].scan_history = lambda keys: 1 / 0
    with pytest.raises(UsageError, match=r"cannot read charts/episodic_return of dqn-1 from wandb"):
        entry.series("charts/episodic_return")


@pytest.mark.parametrize(("key", "words"), [("", "no account"), ("a" * 40, "cannot be reached")])
def test_without_a_key_or_a_network_it_is_one_line_within_five_seconds(key, words, tmp_path, monkeypatch, capsys):
    import wandb

    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    wandb.teardown()  # its settings are read once
    begin = time.monotonic()
    assert cli.main(["compare", "lab/bench?algo=dqn"]) == 2
    error = capsys.readouterr().err
    assert time.monotonic() - begin < 5.5 and error.count("\n") == 1 and words in error, error
    wandb.teardown()


# views


def test_offline_it_says_what_it_would_write(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(remote, "why_offline", lambda settings: "no account is configured (wandb login)")
    monkeypatch.setenv("WANDB_ENTITY", "lab")
    for seed in range(3):
        for lr in (0.1, 0.2):
            path = make_run(tmp_path, "dqn", seed, lr=lr, wandb_project="mine")
            info = json.loads((path / "config.json").read_text()) | {"wandb_id": path.name}
            (path / "config.json").write_text(json.dumps(info))
    assert cli.main(["compare", "--runs-dir", str(tmp_path), "--wandb"]) == 0
    out = capsys.readouterr().out
    assert "not written: no account is configured" in out and "IQM" in out
    assert "lab/mine: 'rlgen compare: CartPole-v1', 6 runs by algo, lr" in out
    assert "mean with min and max against global_step: eval/episodic_return, charts/episodic_return" in out


def test_without_the_package_it_says_how_to_install_it(api, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    six(api)
    assert cli.main(["compare", "lab/bench", "--wandb"]) == 0
    out = capsys.readouterr().out
    assert 'pip install "rlgen[workspaces]"' in out and "lab/bench: 'rlgen compare: CartPole-v1', 12 runs by exp" in out


def test_online_it_writes_a_view_of_the_runs_grouped_by_algorithm(api, monkeypatch, capsys):
    """With the package's own objects where it is installed; only `save` is a fake."""
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    saved = []
    monkeypatch.setattr(workspaces.Workspace, "save", lambda self: saved.append(self) or self)
    monkeypatch.setattr(workspaces.Workspace, "url", "https://wandb.example/view")
    six(api)
    assert cli.main(["compare", "lab/bench", "--wandb"]) == 0
    assert "wandb view: https://wandb.example/view" in capsys.readouterr().out
    view = json.loads(saved[0]._to_model().model_dump_json(by_alias=True, exclude_none=True))
    assert (view["entity"], view["project"]) == ("lab", "bench")
    (runset,) = view["spec"]["section"]["runSets"]
    assert runset["grouping"] == [{"section": "config", "name": "exp_name.value"}]
    (only,) = runset["filters"]["filters"]
    assert only["key"] == {"section": "run", "name": "name"} and len(only["value"]) == 12
    panel = view["spec"]["section"]["panelBankConfig"]["sections"][0]["panels"][0]["config"]
    assert panel["xAxis"] == "global_step" and panel["metrics"] == ["charts/episodic_return"]
    assert panel["groupAgg"] == "mean" and panel["groupArea"] == "minmax" and panel["groupBy"] == "exp_name.value"


def test_a_list_that_is_given_twice_is_refused_and_none_is_lost(tmp_path, capsys):
    for seed in range(2):
        make_run(tmp_path / "runs", "dqn", seed)
    a, b = str(tmp_path / "a.md"), str(tmp_path / "b.csv")
    base = ["compare", "--runs-dir", str(tmp_path / "runs"), "--out"]
    for twice in ([*base, a, "--out", b], [*base[:-1], f"--out={a}", f"--out={b}"]):
        assert cli.main(twice) == 2
        assert "--out is given twice" in capsys.readouterr().err and not list(tmp_path.glob("*.*"))
    assert cli.main([*base, a, b]) == 0 and len(list(tmp_path.glob("*.*"))) == 2
