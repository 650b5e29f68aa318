"""`rlgen doctor`."""

import json
import re
import sys
import tomllib
from pathlib import Path

from rlgen.commands import doctor

ROOT = Path(__file__).parents[2]


def test_doctor_reports_and_names_problems(rlgen, tmp_path, monkeypatch):
    code, out, _ = rlgen("doctor", "--json")
    report = json.loads(out)
    assert code == 0 and report["problems"] == [] and report["torch"] and report["runs_dir"] == str(tmp_path / "runs")
    (tmp_path / "file").write_text("")
    code, out, err = rlgen("doctor", "--runs-dir", "file/runs")
    assert code == 1 and "cannot be written" in out and err.startswith("error: ")


def test_it_knows_every_dependency_and_extra(rlgen, monkeypatch):
    """One that is added to pyproject.toml is known."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>= ]", line)[0] for line in project["dependencies"]]
    report = json.loads(rlgen("doctor", "--json")[1])
    assert {*names, *(f"extra {extra}" for extra in project["optional-dependencies"])} <= {*report}
    assert len(names) >= 12 and all(report[name] for name in names)
    bracketed = [line for lines in project["optional-dependencies"].values() for line in lines if "[" in line]
    assert {doctor.named(line) for line in bracketed} <= {*doctor.MODULES}, "whether it is there is asked by its module"


def test_what_is_missing_is_the_exact_command(rlgen, monkeypatch):
    there = doctor.version
    gone = {"greenlet", "scikit-learn", "ale-py", "matplotlib"}
    monkeypatch.setattr(doctor, "version", lambda name: None if name in gone else there(name))
    code, out, err = rlgen("doctor")
    words = " ".join(out.split())  # a command that does not fit beside its name stands below it
    assert code == 1 and f"extra atari {sys.executable} -m pip install ale-py" in words
    assert f"extra report {sys.executable} -m pip install matplotlib extra" in words
    assert f"scikit-learn is not installed: {sys.executable} -m pip install scikit-learn; greenlet is not" in err


def test_an_installed_copy_is_asked_for_its_metadata(monkeypatch, tmp_path):
    lines = ["torch<2.14,>=2.10", "numpy", 'ale-py>=0.12; extra == "atari"', "gymnasium[box2d]; extra == 'box2d'"]
    monkeypatch.setattr(doctor.parsed_module, "ROOT", tmp_path)
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: lines)
    assert doctor.requirements() == (["torch", "numpy"], {"atari": ["ale-py"], "box2d": ["gymnasium[box2d]"]})


def test_without_torch_it_still_answers(rlgen, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, out, _ = rlgen("doctor", "--json")
    assert code == 1 and any("torch cannot be imported" in line for line in json.loads(out)["problems"])
