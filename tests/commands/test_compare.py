"""`rlgen compare`: what it prints and writes."""

import json
import subprocess
import sys

import pytest
from comparing import found, make_pair
from synthetic import make_run

from rlgen.commands import main


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def test_the_command_prints_tables_or_one_json_document(runs, capsys):
    make_pair(runs)
    assert main(["compare", "--runs-dir", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "CartPole-v1: eval/episodic_return" in out and "double_dqn is better" in out and "IQM [95 % CI]" in out
    assert main(["compare", "*__dqn__*", "--json", "--runs-dir", str(runs)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tasks"][0]["groups"][0]["seeds"] == 6 and document["rules"] and document["versions"]["torch"]
    assert main(["compare", "nothing", "--runs-dir", str(runs)]) == 2


def test_the_command_says_why_it_does_not_rank(runs, capsys):
    make_run(runs, "dqn", 1, steps=10_000)
    make_run(runs, "ppo", 1)
    assert main(["compare", "--runs-dir", str(runs)]) == 0
    assert "not ranked: different step budgets" in capsys.readouterr().out


def test_two_seeds_a_side_give_no_verdict_however_far_apart(runs, capsys):
    make_pair(runs, seeds=2)
    assert found(runs)["tasks"][0]["pairs"][0]["low"] == 1.0  # the bootstrap alone would be certain
    assert main(["compare", "--runs-dir", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "too few seeds to tell" in out and "is better" not in out


def test_the_command_imports_neither_torch_nor_matplotlib(runs):
    make_pair(runs, seeds=1)
    code = f"""
import sys
from rlgen.commands import main
assert main(["compare", "--runs-dir", {str(runs)!r}]) == 0
assert not {{"torch", "wandb", "matplotlib"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_command_writes_several_files(runs, tmp_path, capsys):
    for seed in range(1, 6):
        make_run(runs, "dqn", seed)
        make_run(runs, "vae", seed, final=95.0 + seed, data="digits", extra={"eval/fd": 30.0 + seed})
        make_run(runs, "a|<b>", seed, final=90.0 + seed, data="digits", extra={"eval/fd": 20.0 + seed})
    out = [str(tmp_path / name) for name in ("a.md", "b.csv", "c.json")]
    argv = ["compare", "--runs-dir", str(runs), "--data", "digits", "--out", f"{out[0]},{out[1]}", out[2]]
    assert main(argv) == 0
    assert all((tmp_path / name).stat().st_size for name in ("a.md", "b.csv", "c.json"))
    assert main(["compare", "--runs-dir", str(runs), "--out", "x.doc"]) == 2


def test_a_list_that_is_given_in_pieces_is_whole(tmp_path):
    for seed in range(2):
        make_run(tmp_path / "runs", "dqn", seed)
    a, b = str(tmp_path / "a.md"), str(tmp_path / "b.csv")
    base = ["compare", "--runs-dir", str(tmp_path / "runs"), "--out"]
    for twice in ([*base, a, "--out", b], [*base[:-1], f"--out={a}", f"--out={b}"]):
        assert main(twice) == 0
        assert sorted(path.name for path in tmp_path.glob("*.*")) == ["a.md", "b.csv"]
        for path in tmp_path.glob("*.*"):
            path.unlink()
