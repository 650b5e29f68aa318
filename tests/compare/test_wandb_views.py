"""A comparison as wandb views. No server is asked here; see test_wandb_runs.py."""

import json
import sys

import pytest
from synthetic import make_run
from wandb_project import six

from rlgen.commands import main
from rlgen.compare import wandb_api


def test_offline_it_says_what_it_would_write(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(wandb_api, "why_offline", lambda settings: "no account is configured (wandb login)")
    monkeypatch.setenv("WANDB_ENTITY", "lab")
    for seed in range(3):
        for lr in (0.1, 0.2):
            path = make_run(tmp_path, "dqn", seed, lr=lr, wandb_project="mine")
            info = json.loads((path / "config.json").read_text()) | {"wandb_id": path.name}
            (path / "config.json").write_text(json.dumps(info))
    assert main(["compare", "--runs-dir", str(tmp_path), "--wandb"]) == 0
    out = capsys.readouterr().out
    assert "not written: no account is configured" in out and "IQM" in out
    assert "lab/mine: 'rlgen compare: CartPole-v1', 6 runs by algo, lr" in out
    assert "mean with min and max against global_step: eval/episodic_return, charts/episodic_return" in out


def test_without_the_package_it_says_how_to_install_it(api, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    six(api)
    assert main(["compare", "lab/bench", "--wandb"]) == 0
    out = capsys.readouterr().out
    assert "-m pip install wandb-workspaces" in out and "lab/bench: 'rlgen compare: CartPole-v1', 12 runs by exp" in out


def test_online_it_writes_a_view_of_the_runs_grouped_by_algorithm(api, monkeypatch, capsys):
    """With the package's own objects where it is installed; only `save` is a fake."""
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    saved = []
    monkeypatch.setattr(workspaces.Workspace, "save", lambda self: saved.append(self) or self)
    monkeypatch.setattr(workspaces.Workspace, "url", "https://wandb.example/view")
    six(api)
    assert main(["compare", "lab/bench", "--wandb"]) == 0
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
