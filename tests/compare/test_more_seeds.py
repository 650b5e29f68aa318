"""How many more seeds a comparison needs, and the lines that train them."""

import json

import pytest
from comparing import found
from synthetic import make_run

from rlgen.commands import main


def train(runs_dir, algo, seeds, final, command=None):
    for seed in seeds:
        path = make_run(runs_dir, algo, seed, final=final + 5 * seed)
        info = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(info | {"command": command}))


def test_groups_far_apart_are_decided_and_need_nothing(tmp_path):
    train(tmp_path, "dqn", range(5), 100.0)
    train(tmp_path, "double_dqn", range(5), 400.0)
    (task,) = found(tmp_path, until_decided=True)["tasks"]
    assert task["more_seeds"]["pairs"][0]["verdict"] == "decided: double_dqn has the larger mean"
    assert task["more_seeds"]["missing"] == {} and task["more_seeds"]["commands"] == []


def test_groups_that_are_alike_need_another_block_and_the_command_says_how(tmp_path):
    train(tmp_path, "dqn", range(7), 300.0, "rlgen train dqn --lr 1e-3 --seed=3 --name 'a b' --steps 50000")
    train(tmp_path, "double_dqn", range(1, 6), 301.0)
    (task,) = found(tmp_path, until_decided=True)["tasks"]
    assert task["more_seeds"]["pairs"][0]["verdict"] == "not decided"
    assert task["more_seeds"]["missing"] == {"double_dqn": 5, "dqn": 3}
    assert task["more_seeds"]["commands"] == ["rlgen train dqn --lr 1e-3 --steps 50000 --seeds 7:10"]


def test_too_few_seeds_for_the_first_look_are_said(tmp_path):
    train(tmp_path, "dqn", range(2), 300.0)
    train(tmp_path, "double_dqn", range(5), 300.0)
    (task,) = found(tmp_path, until_decided=True)["tasks"]
    assert task["more_seeds"]["missing"] == {"dqn": 3}


def test_the_terminal_shows_the_commands(tmp_path, capsys):
    train(tmp_path, "dqn", range(5), 300.0, "rlgen train dqn --seeds 0:5")
    train(tmp_path, "ppo", range(5), 301.0, "rlgen train ppo --seeds 0:5")
    assert main(["compare", "--until-decided", "--runs-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert (
        "rlgen train dqn --seeds 5:10" in shown and "rlgen train ppo --seeds 5:10" in shown and "not decided" in shown
    )


def test_one_group_groups_that_are_not_ranked_and_too_many_groups_are_told_why_there_is_no_answer(tmp_path):
    """It said nothing, as if the option was not there."""
    train(tmp_path, "dqn", range(2), 300.0)
    for reason in ("there is only dqn; two groups", "8 groups; up to 7", "these groups are not ranked"):
        (task,) = found(tmp_path, until_decided=True)["tasks"]
        assert task["more_seeds"] is None
        assert [line for line in task["warnings"] if line.startswith("--until-decided:") and reason in line]
        if reason.startswith("there is only"):
            for lr in range(1, 8):
                make_run(tmp_path, "double_dqn", 1, lr=lr)
        else:
            make_run(tmp_path, "ppo", 1, steps=10_000)


@pytest.mark.parametrize("command", [None, "", "rlgen train 'unclosed", "rlgen fork first --set lr=1e-4"])
def test_a_command_that_trains_no_other_seed_is_not_given(tmp_path, command):
    """A quotation that does not close was a traceback; `rlgen fork` takes no seeds."""
    train(tmp_path, "dqn", range(2), 300.0, command)
    train(tmp_path, "double_dqn", range(2), 301.0, command)
    (task,) = found(tmp_path, until_decided=True)["tasks"]
    assert task["more_seeds"]["missing"] == {"double_dqn": 3, "dqn": 3} and task["more_seeds"]["commands"] == []
