"""`rlgen eval` of a group of runs; that of one run is in `test_commands.py`."""

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def group(rlgen, trained):
    """Two agents and a model in the working directory."""
    for name, origin in {"dqn-0": "agent", "dqn-1": "agent", "vae-0": "model"}.items():
        shutil.copytree(Path(trained) / origin, Path("runs") / name)
    return rlgen


def test_a_group_of_runs_gets_a_row_each(group):
    code, out, err = group("eval", "dqn-*", "dqn-0", "--episodes", "2")
    lines = [line.split() for line in out.splitlines()]
    assert (code, err, lines[0]) == (0, "", ["run", "step", "mean", "std", "worst"])
    assert [line[0] for line in lines[1:]] == ["dqn-0", "dqn-1"]
    rows = json.loads(group("eval", "dqn-0", "dqn-1", "--episodes", "2", "--json")[1])
    assert [row["run"] for row in rows] == ["dqn-0", "dqn-1"]
    assert rows[0] | {"run": ""} == json.loads(group("eval", "dqn-0", "--episodes", "2", "--json")[1]) | {"run": ""}
    assert float(lines[1][2]) == pytest.approx(rows[0]["episodic_return"]["mean"], rel=1e-5)


def test_the_best_checkpoint_does_not_play_the_episodes_that_chose_it(group):
    def played(*words):
        return json.loads(group("eval", "dqn-0", "--episodes", "2", "--json", *words)[1])

    last, best = played(), played("--checkpoint", "best")
    assert (last["policy"], last["seed"], best["seed"]) == ("greedy", 10_001, 20_001)
    again = played("--checkpoint", "best", "--seed", "10001")
    assert again["episodic_return"]["values"] != best["episodic_return"]["values"]


def test_agents_and_models_stand_in_one_table(group):
    code, out, _ = group("eval", "runs", "--episodes", "1")
    columns, *rows = [line.split() for line in out.splitlines()]
    assert code == 0 and {"mean", "nll"} < {*columns} and len(rows) == 3
    assert rows[0][columns.index("nll")] == rows[2][columns.index("mean")] == "-"


def test_one_that_cannot_be_evaluated_does_not_cost_the_others(group):
    shutil.rmtree("runs/dqn-0/checkpoints")
    code, out, err = group("eval", "dqn-*", "--episodes", "1")
    assert code == 1 and len(out.splitlines()) == 2 and out.splitlines()[1].startswith("dqn-1 ")
    assert err.startswith("error: run dqn-0: ") and err.count("\n") == 1
    assert group("eval", "dqn-0")[0] == 4


@pytest.mark.parametrize(
    ("run", "flag", "why"),
    [
        ("vae-0", ("--episodes", "5"), "is a model, it is judged by held-out images"),
        ("vae-0", ("--seed", "0"), "is a model"),
        ("vae-0", ("--video",), "is a model"),
        ("dqn-0", ("--split", "val"), "is an agent, it is judged by episodes"),
        ("dqn-0", ("--max-memory", "8GB"), "is an agent"),
    ],
)
def test_a_flag_of_the_other_kind_is_not_ignored(group, run, flag, why):
    code, out, err = group("eval", run, *flag)
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith(f"error: {' '.join(flag)}: {run} {why}")
    if flag[0] != "--split":  # a model has no split of one
        code, out, err = group("eval", "dqn-1", "vae-0", *flag)
        assert (code, len(out.splitlines()), err) == (0, 3, ""), "it is for one of them"
