"""The tables of a comparison."""

from comparing import found, make_pair
from synthetic import make_run, without_likelihood

from rlgen.compare.cells import MISSING
from rlgen.compare.tables import sections


def section_of(comparison, task):
    return next(section for section in sections(comparison) if section.title.startswith(f"{task}:"))


def test_the_title_says_the_steps_of_each_group_where_they_differ(runs):
    """It named the largest budget alone, as if every group had been trained so long."""
    make_pair(runs, seeds=2)
    make_run(runs, "ppo", 1, steps=10_000)
    arrow = "\N{UPWARDS ARROW}"
    title = f"CartPole-v1: eval/episodic_return {arrow} after 10,000 steps (ppo), 50,000 steps (double_dqn, dqn)"
    assert sections(found(runs))[0].title == title
    title = f"CartPole-v1: eval/episodic_return {arrow} after 50,000 steps"
    assert sections(found(runs, algo="*dqn"))[0].title == title


def test_no_cell_is_empty_where_a_gan_stands_beside_a_vae(runs):
    for seed in range(2):
        make_run(runs, "vae", seed, data="digits", extra={"eval/fd": 30.0})
        without_likelihood(make_run(runs, "gan", seed, data="digits", extra={"eval/d_real": 0.2, "eval/fd": 20.0}))
    section = section_of(found(runs, metric="eval/nll"), "digits")
    for table in section.tables:
        assert table.detail or not [row for row in table.rows if MISSING in row], table
    assert "gan" in [
        row[0] for table in section.tables if table.title.startswith("Without a score") for row in table.rows
    ]
    columns = [table.columns for table in section.tables if table.columns[0] == "metric"]
    assert ["metric", "vae"] in columns and ["metric", "gan"] in columns and ["metric", "gan", "vae"] in columns


def test_groups_that_have_no_score_yet_stand_apart_without_empty_columns(runs):
    make_pair(runs)
    make_run(runs, "ppo", 1, status=None, reached=20_000)
    section = section_of(found(runs), "CartPole-v1")
    scored, unscored = section.tables[0], next(table for table in section.tables if "Without" in table.title)
    assert {row[0] for row in scored.rows} == {"dqn", "double_dqn"} and not any(MISSING in row for row in scored.rows)
    assert unscored.texts() == [["ppo", "0", "0", "1"]] and unscored.columns == ["", "seeds", "failed", "unfinished"]


def test_below_a_score_of_samples_is_what_real_images_score(runs):
    scores = {
        "eval/fd_lenet": 2.0,
        "eval/floor/fd_lenet": 0.5,
        "eval/recall_lenet": 0.7,
        "eval/floor/recall_lenet": 0.9,
    }
    make_run(runs, "gan", 0, data="digits", extra=scores | {"eval/d_gap": 0.1})
    section = section_of(found(runs, metric="eval/fd_lenet"), "digits")
    (table,) = (table for table in section.tables if table.columns[0] == "metric")
    names = [row[0].split()[0] for row in table.rows]
    assert names[:2] == ["eval/fd_lenet", "eval/floor/fd_lenet"]
    assert names.index("eval/floor/recall_lenet") == names.index("eval/recall_lenet") + 1 < names.index("eval/d_gap")
