"""`rlgen list`: everything there is, filtered and sorted."""

import json
import re
import shutil
from pathlib import Path

import pytest
from synthetic import change, make_run

from rlgen.runs.table import COLUMNS


@pytest.mark.parametrize("what", ["algos", "envs", "data", "presets", "runs"])
def test_listing_as_json_is_one_document(rlgen, what):
    code, out, _ = rlgen("list", what, "--json")
    assert code == 0
    rows = json.loads(out)
    assert rows or what in ("presets", "runs")
    assert rlgen("list", what)[0] == 0


def test_listing_takes_a_word_and_shows_the_newest_environments(rlgen):
    rows = json.loads(rlgen("list", "envs", "cart", "--json")[1])
    assert {"env": "CartPole-v1", "group": "classic_control", "actions": "discrete", "needs": ""} in rows
    assert all("cart" in row["env"].lower() for row in rows) and "CartPole-v0" not in [row["env"] for row in rows]
    every = {row["env"]: row for row in json.loads(rlgen("list", "envs", "--json")[1])}
    assert every["Pendulum-v1"]["actions"] == "continuous"
    assert rlgen("list", "envs", "nothing-is-called-this")[1].strip() == "none"


def test_runs_are_listed(rlgen, trained):
    rows = json.loads(rlgen("list", "runs", "--json", "--runs-dir", trained)[1])
    assert {(row["name"], row["algo"]) for row in rows} == {("agent", "dqn"), ("model", "vae")}


def test_the_table_has_the_columns_and_reads_well(four_runs):
    code, out, _ = four_runs("list", "runs")
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == list(COLUMNS) and len(lines) == 5
    assert re.search(r"50,000 +300 return +301.5 at 25,000", lines[1])
    assert "3.0 MiB" in lines[1] and "finished" in lines[1] and " d " in lines[1]
    assert "20,000 of 50,000" in lines[3] and "stopped" in lines[3] and "90 nll " in lines[4]
    assert "90.25 at 25,000" in lines[4]


@pytest.mark.parametrize(
    ("flags", "order"),
    [
        ([], [0, 1, 2, 3]),
        (["--reverse"], [3, 2, 1, 0]),
        (["--sort", "score"], [1, 0, 2, 3]),  # a metric after the other, the worst of each first
        (["--sort", "score", "--reverse"], [2, 0, 1, 3]),
        (["--sort", "best"], [1, 0, 3, 2]),
        (["--sort", "best", "--reverse"], [0, 1, 3, 2]),  # the run without one stays last
        (["--sort", "seed", "--reverse"], [3, 2, 1, 0]),
        (["--sort", "algo"], [0, 1, 2, 3]),
        (["--sort", "env/data", "--reverse"], [3, 0, 1, 2]),
        (["--sort", "step"], [2, 0, 1, 3]),
        (["--sort", "size", "--reverse", "dqn"], [0, 1]),
        (["DQN cartpole"], [0, 1]),
        (["stopped"], [2]),
        (["runs"], []),  # the path is no column
    ],
)
def test_the_table_is_sorted_and_filtered(four_runs, flags, order):
    code, out, _ = four_runs("list", "runs", "--json", *flags)
    rows = json.loads(out)
    assert code == 0 and [row["seed"] for row in rows] == order
    for row in rows:
        assert isinstance(row["size"], int) and isinstance(row["age"], int) and row["status"] == row["state"]
    assert len(four_runs("list", "runs", *flags)[1].splitlines()) == (len(order) + 1 if order else 1)


def test_a_score_is_the_final_one_and_the_best_has_its_step(four_runs):
    rows = {row["seed"]: row for row in json.loads(four_runs("list", "runs", "--json")[1])}
    assert rows[0]["score"] == 300.0 and rows[0]["best"]["value"] == 301.5 and rows[0]["best"]["step"] == 25_000
    assert rows[0]["final"] == {"metric": "eval/episodic_return", "value": 300.0, "step": 50_000}
    assert rows[2]["final"]["step"] == 20_000 and rows[2]["best"] is None  # how far it came


def test_losses_and_returns_are_not_mixed_and_the_best_is_at_one_end(four_runs):
    for seed, final in ((4, 80.0), (5, 100.0)):
        make_run(Path("runs"), "vae", seed, final=final, data="digits")
    with open("runs/CartPole-v1__dqn__1/metrics.jsonl", "a") as file:
        file.write('{"step": 50000, "time": 13, "eval/episodic_return": "NaN"}\n')
    for flags, order in (([], [1, 0, 2, 5, 3, 4]), (["--reverse"], [2, 0, 1, 4, 3, 5])):
        rows = json.loads(four_runs("list", "runs", "--sort", "score", "--json", *flags)[1])
        assert [row["seed"] for row in rows] == order


def test_every_list_is_sorted_by_its_own_columns(four_runs):
    rows = json.loads(four_runs("list", "algos", "--sort", "kind", "--reverse", "--json")[1])
    assert [row["kind"] for row in rows] == sorted((row["kind"] for row in rows), reverse=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["list", "runs", "--sort", "scor"], "--sort scor: must be one of name, algo, env/data"),
        (["list", "algos", "--sort", "seed"], "--sort seed: must be one of algo, kind"),
        (["diff"], "0 runs given, two are compared: rlgen diff RUN RUN"),
        (["diff", "vae"], "1 run given"),
        (["diff", "CartPole-v1__dqn__0", "CartPole-v1__dqn__0"], "are the same run"),
        (["diff", "CartPole-v1__dqn__0", "nothing"], "no run 'nothing'"),
        (["completion", "tcsh"], "shell 'tcsh': must be one of bash, zsh, fish"),
    ],
)
def test_a_mistake_is_one_line(four_runs, argv, message):
    code, _, err = four_runs(*argv)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_damaged_run_is_listed(four_runs):
    change(Path("runs/CartPole-v1__dqn__0"), created="yesterday")
    Path("runs/broken").mkdir()
    Path("runs/broken/config.json").write_text("{")
    for flags in ([], ["--sort", "age"], ["--sort", "seed"]):
        code, out, _ = four_runs("list", "runs", *flags)
        assert code == 0 and "damaged" in out


def test_a_damaged_run_is_named_with_its_reason_and_the_others_are_shown(four_runs):
    healthy = json.loads(four_runs("list", "runs", "--json")[1])
    for number, (name, content) in enumerate(
        {
            "config.json": '{"config": {"algo": "dqn", "seed": 1, "steps": -5, "env_id": "CartPole-v1"}}',
            "summary.json": "[]",
            "checkpoints/best.json": '{"metric": 3}',
            "\x1b[31m": "",
        }.items()
    ):
        run = Path(f"runs/bad-{number}-{name[0]}")
        shutil.copytree("runs/CartPole-v1__dqn__0", run)
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(content)
    code, out, err = four_runs("list", "runs", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    for row in healthy:
        assert rows[row["name"]] | {"age": 0} == row | {"age": 0}
    damaged = {name: row["damaged"] for name, row in rows.items() if row["damaged"]}
    assert len(damaged) == 3 and err.count("\n") == 3
    assert (
        "steps: must be a whole number" in err
        and "no JSON object" in err
        and "best.json is damaged: step is missing" in err
    )
    code, out, err = four_runs("list", "runs")
    assert code == 0 and out.count("damaged") == 3 and len(out.splitlines()) == 9 and "\x1b" not in out + err
    code, out, err = four_runs("compare", "--json")
    assert code == 0 and err.count("is left out") == 3
    assert len({run["run"] for task in json.loads(out)["tasks"] for run in task["runs"]}) == 5
