"""Files of a run that somebody edited, or that another version wrote."""

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
from toy_runs import make_run

from rlgen.envs.spec import EnvSpec
from rlgen.errors import DamagedError, UsageError
from rlgen.runs import records
from rlgen.runs.records import Best, Manifest, Summary, check_spec, fit, read, read_best, read_config
from rlgen.runs.run import Run


def edit(run, **changes):
    info = json.loads((run.path / "config.json").read_text())
    info["config"] |= changes.pop("config", {})
    (run.path / "config.json").write_text(json.dumps(info | changes))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"log_every": 0}, "log_every 0: must be in [1, 10**12]"),
        ({"steps": -5}, "config.steps: must be a whole number from 0 on"),
        ({"steps": 0}, "steps 0: must be in [1, 10**12]"),
        ({"steps": True}, "config.steps: must be a whole number"),
        ({"steps": "1000"}, "config.steps: must be a whole number"),
        ({"seed": 2**63}, "seed 9223372036854775808: must be in"),
        ({"algo": ["dqn"]}, "config.algo: must be text"),
        ({"algo": "vae"}, "data is missing"),
        ({"env_id": None}, "env_id is missing"),
        ({"env_id": 3}, "config.env_id: must be text"),
        ({"env_id": "\x1b[2J"}, "env '\\x1b[2J': must be text"),
        ({"lr": "fast"}, "lr 'fast': must be a number"),
        ({"lr": [1]}, "lr [1]: must be a number"),
        ({"lr": {}}, "lr {}: must be a number"),
        ({"hidden": 64}, "hidden 64: must be a list"),
        ({"hidden": [1.5]}, "hidden [1.5]: must be a list"),
        ({"graph": 1}, "graph 1: must be true or false"),
        ({"wandb": "yes"}, "wandb 'yes': must be one of auto, online, offline, disabled"),
        ({"name": "../../elsewhere"}, "'../../elsewhere'"),
    ],
)
def test_a_value_of_config_json_is_checked_as_a_flag_is(tmp_path, config, reason):
    run = make_run(tmp_path, "mine")
    edit(run, config=config)
    with pytest.raises(DamagedError, match=re.escape(reason)) as caught:
        Run.open(run.path)
    assert "config.json is damaged" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"config": []}, None),
        ({"spec": 3}, "spec: must be an object"),
        ({"command": ["rlgen"]}, "command: must be text"),
        ({"extended": "x"}, "extended: must be a list"),
        ({"extended": [{"at": 3}]}, "extended.from is missing"),
        ({"extended": [{"at": "x", "from": 1}]}, "extended.at: must be a whole number"),
        ({"together": 5}, "together: must be a list"),
        ({"together": [{"a": 1}]}, "together: must be a whole number"),
        ({"created": 12}, "created: must be text"),
        ({"versions": {"torch": 2}}, "versions.torch: must be text"),
        ({"versions": "2.13"}, "versions: must be an object"),
        ({"hardware": {"gpus": "A100"}}, "hardware.gpus: must be a list"),
        ({"hardware": {"cpu_cores": "8"}}, "hardware.cpu_cores: must be a whole number"),
        ({"parent": 3}, "parent: must be an object"),
        ({"parent": {"step": 3}}, "parent.run is missing"),
        ({"wandb_id": {}}, "wandb_id: must be text"),
    ],
)
def test_an_entry_of_config_json_has_its_type(tmp_path, entries, reason):
    run = make_run(tmp_path, "mine")
    if entries == {"config": []}:
        (run.path / "config.json").write_text('{"config": []}')
        reason = "config: must be an object"
    else:
        edit(run, **entries)
    with pytest.raises(DamagedError, match=re.escape(reason)):
        read_config(run.path)


def test_a_value_is_what_a_flag_would_make_of_it_and_another_versions_options_are_said(tmp_path, capsys):
    run = make_run(tmp_path, "mine")
    edit(run, config={"lr": "1e-3", "hidden": ["8", 8], "warmup": 5, "inertia": {"a": 1}}, note=["of", "mine"])
    opened = Run.open(run.path)
    assert opened.config["lr"] == 1e-3 and opened.config["hidden"] == [8, 8]
    assert opened.config["warmup"] == 5 and opened.info["note"] == ["of", "mine"], "what is not known is kept"
    assert capsys.readouterr().err == (
        "warning: run mine has options that this dqn has not, without effect: warmup, inertia\n"
    )


def test_a_period_that_is_missing_or_none_is_that_of_a_new_run(tmp_path):
    run = make_run(tmp_path, "mine")
    info = json.loads((run.path / "config.json").read_text())
    del info["config"]["log_every"]
    info["config"]["eval_every"] = None
    (run.path / "config.json").write_text(json.dumps(info))
    config = Run.open(run.path).config
    assert (config["log_every"], config["eval_every"]) == (5, 100)


@pytest.mark.parametrize(
    "best",
    [
        [],
        {},
        {"metric": "eval/nll", "value": 1.0},
        {"metric": "eval/nll", "value": "NaN", "step": 5},
        {"metric": "eval/nll", "value": True, "step": 5},
        {"metric": 3, "value": 1.0, "step": 5},
        {"metric": "eval/nll", "value": 1.0, "step": "../.."},
        {"metric": "eval/nll", "value": 1.0, "step": -1},
        {"metric": "eval/nll", "value": 1.0, "step": 1.5},
    ],
)
def test_a_damaged_best_json_is_said_and_the_run_goes_on_without(tmp_path, capsys, best):
    run = make_run(tmp_path, "mine")
    run.checkpoints.mkdir()
    (run.checkpoints / "best.json").write_text(json.dumps(best))
    assert read_best(run.path) is None and "best.json is damaged" in capsys.readouterr().err
    assert Run.open(run.path).best is None


def test_records_of_ours_are_read(tmp_path):
    best = {"metric": "eval/nll", "value": -3, "step": 5}
    manifest = {"format": 2, "step": 5, "algo": "vae", "files": {"state.pt": {"sha256": "00", "size": 9}}}
    for value, kind in (
        (best, Best),
        ({"status": "finished", "best": best, "metrics": {"a": "NaN"}}, Summary),
        ({"status": "failed", "best": None}, Summary),
        (manifest, Manifest),
    ):
        (tmp_path / "file.json").write_text(json.dumps(value))
        assert read(tmp_path / "file.json", kind) == value
    assert read(tmp_path / "no.json", Best) is None
    with pytest.raises(DamagedError, match=r"files\.state\.pt is missing"):
        (tmp_path / "file.json").write_text(json.dumps(manifest | {"files": {"../state.pt": {}}}))
        read(tmp_path / "file.json", Manifest)


@dataclass(frozen=True)
class Spec:
    shape: tuple[int, int]
    bounds: tuple[float, ...]
    label: str | None = None


def test_a_dataclass_is_made_of_what_json_kept_of_it():
    spec = Spec((1, 2), (0.5, 2), "x")
    assert fit(json.loads(json.dumps(asdict(spec))), Spec, "spec") == spec
    for change, reason in (
        ({"shape": [1]}, "spec.shape: must have 2 values"),
        ({"shape": [1, -2]}, "spec.shape: must be a whole number from 0 on"),
        ({"bounds": 3}, "spec.bounds: must be a list"),
        ({"label": 3}, "spec.label: must be text"),
        ({"colour": 3}, "spec.colour: there is no such entry"),
    ):
        with pytest.raises(ValueError, match=re.escape(reason)):
            fit(asdict(spec) | {"shape": [1, 2], "bounds": [0.5]} | change, Spec, "spec")
    with pytest.raises(ValueError, match=r"spec\.shape is missing"):
        fit({"bounds": []}, Spec, "spec")


def test_a_directory_without_config_json_is_no_run(tmp_path):
    with pytest.raises(UsageError, match="not a run"):
        read_config(tmp_path)


def test_a_spec_that_is_not_that_of_the_environment_is_refused():
    saved = {"env_id": "CartPole-v1", "obs_shape": [4], "num_envs": 2, "num_actions": 2, "of_older_version": 1}
    spec = EnvSpec("CartPole-v1", (4,), "float32", 2, (), (), (), num_envs=2)
    check_spec("mine", saved, spec)
    check_spec("mine", None, spec)
    game = replace(spec, protocol={"frame_skip": 4, "ale_py": "0.13"})
    check_spec("mine", saved | {"protocol": {"frame_skip": 4, "ale_py": "0.12"}}, game)
    with pytest.raises(UsageError, match="not what run mine began with: protocol's frame_skip was 2 and is 4"):
        check_spec("mine", saved | {"protocol": {"frame_skip": 2}}, game)
    with pytest.raises(UsageError, match=r"not what run mine began with: obs_shape was \[6\] and is \[4\]"):
        check_spec("mine", saved | {"obs_shape": [6]}, spec)
    with pytest.raises(ValueError, match="num_envs: must be at least 1"):
        fit(json.loads(json.dumps(asdict(spec))) | {"num_envs": 0}, EnvSpec)


@pytest.mark.parametrize("file", [records.Config, Summary])
def test_the_readme_names_every_entry(file):
    tables = (Path(records.__file__).parent / "README.md").read_text(encoding="utf-8")
    named = {span for line in tables.splitlines() if line[:3] == "| `" for span in re.findall("`(.+?)`", line)}
    assert file.__annotations__.keys() - named == set()
