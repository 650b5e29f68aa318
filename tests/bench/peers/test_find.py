"""Peers that are installed, and peers that are not."""

import importlib.util

from rlgen.errors import install

CHEAP = "dqn-1env,ppo-4env,vae-mlp"


def test_peers_have_ratios_and_missing_ones_are_listed(tiny_bench, monkeypatch):
    there, absent = importlib.util.find_spec, ("stable_baselines3", "tianshou", "torchrl", "pythae")
    monkeypatch.setattr(importlib.util, "find_spec", lambda *args: None if args[0] in absent else there(*args))
    report = tiny_bench(only=CHEAP, peers=True)
    assert report["not_installed"]["SB3"] == install("stable-baselines3")
    assert set(report["not_installed"]) == {"SB3", "Tianshou", "TorchRL", "pythae"}
    rows = {row["work"]: row for row in report["results"] if row["contender"] == "eager PyTorch"}
    assert set(rows) == set(CHEAP.split(",")) and not report["skipped"]
    for row in rows.values():
        ratio = row["ratio"]["us per image" if row["work"] == "vae-mlp" else "us per env step"]
        assert len(ratio["blocks"]) == 2 and 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert f"SB3: not installed: {install('stable-baselines3')}" in report.text()
