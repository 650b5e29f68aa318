"""`rlgen train`: the layers are told, and a dry run makes nothing."""

import json
import re
from types import SimpleNamespace

from synthetic import make_run
from tiny_runs import DQN, TINY

from rlgen import experiment
from rlgen.commands.train import train_seeds
from rlgen.options import algorithms, config, fields, parsed_module


def test_dry_run_prints_every_value_its_origin_and_the_cost_and_makes_nothing(rlgen, tmp_path):
    (tmp_path / "my.toml").write_text("gamma = 0.9\n")
    code, out, _ = rlgen(
        "train", "dqn", "--dry-run", "--no-preset", "--config", "my.toml", "--steps", "300", *TINY, *DQN
    )
    assert code == 0
    origin = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line}
    assert (origin["env"], origin["gamma"], origin["steps"]) == ("default", "file", "flag")
    assert "parameters" in out and "steps/s" in out and re.search(r"iB of disk, [0-9.]+ .iB are free\n", out)
    assert not (tmp_path / "runs").exists()


def test_the_preset_is_printed_with_its_values(rlgen, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(experiment, "start", lambda config, command: started.append((config, command)))
    monkeypatch.setattr(config, "preset_for", lambda algorithm, target: (f"file [{target}]", {"lr": 0.25}))
    code, out, _ = rlgen("train", "dqn", "--steps", "2_000")
    assert code == 0 and out.startswith("preset file [CartPole-v1]: lr 0.25 ")
    values, command = started[0]
    assert (values["lr"], values["steps"]) == (0.25, 2_000)
    assert command == ["rlgen", "train", "dqn", "--steps", "2_000"]


def test_a_flag_goes_straight_to_the_configuration(rlgen, monkeypatch):
    """Every file is parsed once, and the layers are put together once, until the learner has its Config."""
    parsed, resolved, reached = [], [], []
    for cached in (parsed_module._parse, fields.read_options, config.run_options):
        cached.cache_clear()
    parse, resolve = parsed_module.ParsedModule, config.resolve

    def start(values, command):
        learner = algorithms.load(values["algo"])
        reached.append(config.algorithm_config(learner, values))

    monkeypatch.setattr(parsed_module, "ParsedModule", lambda *args: parsed.append(args[0]) or parse(*args))
    monkeypatch.setattr(config, "resolve", lambda *args: resolved.append(args) or resolve(*args))
    monkeypatch.setattr(experiment, "start", start)
    assert rlgen("train", "double_dqn", "--lr", "0.25")[0] == 0
    assert sorted(parsed) == [
        "agents.double_dqn",
        "agents.dqn",
        "rlgen.commands.train",
        "rlgen.core.novelty",
        "rlgen.core.optimizer",
        "rlgen.data.preparation",
        "rlgen.nets.layers",
        "rlgen.options.config",
    ]
    assert len(resolved) == 1 and reached[0].lr == 0.25


def test_the_table_of_seeds_has_the_final_score_and_the_best_with_its_step(monkeypatch, tmp_path, capsys):
    path = make_run(tmp_path, "dqn", 0, final=300.0)
    best = {"metric": "eval/episodic_return", "value": 411.0, "step": 25_000}
    (path / "summary.json").write_text(json.dumps({"status": "finished", "best": best}))
    monkeypatch.setattr("rlgen.jobs.run_seeds", lambda *_: {0: SimpleNamespace(path=path, name="one")})
    train_seeds({"device": "cpu"}, [0], [])
    lines = [line.split("  ") for line in capsys.readouterr().out.strip().splitlines()]
    assert [word.strip() for word in filter(None, lines[0])] == ["seed", "state", "score", "best", "run"]
    assert [word.strip() for word in filter(None, lines[1])] == ["0", "finished", "300 return", "411 at 25,000", "one"]


def test_jobs_are_processes_for_seeds(rlgen):
    code, _, err = rlgen("train", "dqn", "--jobs", "2")
    assert code == 2 and "--jobs 2 needs --seeds" in err
