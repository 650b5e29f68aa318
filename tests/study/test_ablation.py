"""An ablation: every cell on the same final seeds, with what was tuned for its level on others, and its table."""

import re
from collections import Counter

import pytest
from toy_study import created, planned, starts

from rlgen.errors import UsageError
from rlgen.options import algorithms, config
from rlgen.study import ablation, effects, show, worker
from rlgen.study.factors import parse_tuning, spelled_out
from rlgen.study.space import parse_space

KNOWN = config.options(algorithms.find("dqn"))
GRID = {"sampler": "grid", "seeds": "0:3", "tuning_seeds": "100:102"}
PLAIN = GRID | {"over": ("lr=0.25/0.5", "hidden=8/16"), "tune": ()}
TUNED = GRID | {"over": ("hidden=8/16", "gamma=0.75/0.875"), "tune": ("hidden:lr=0.25/0.5", "hidden=16:lr=0.125/1.5")}


pytestmark = pytest.mark.usefixtures("toys")


def test_every_cell_is_trained_on_the_final_seeds_and_the_table_says_what_matters(tmp_path):
    study = created(tmp_path, **PLAIN)
    assert study.record["trials"] == 4
    assert effects.shown(study).startswith(
        "ablation toy: eval/episodic_return, seeds 0 1 2; 0 of 4 cells finished\nNot final: "
    )
    worker.work(study, 2)
    assert len(starts(study)) == 12
    found = effects.found(study)
    lr, hidden = found["factors"]
    assert (lr["factor"], lr["best"], lr["worst"], lr["difference"][0]) == ("lr", "0.5", "0.25", 25.0)
    assert lr["p"] < 0.05 and hidden["p"] == 1.0 and hidden["difference"][0] == 0.0
    assert lr["levels"]["0.25"][0] == 26.0 and lr["of"] == 2
    assert [cell["mean"][0] for cell in found["cells"]] == [26.0, 26.0, 51.0, 51.0]
    assert [cell["behind"][0] for cell in found["cells"] if not cell["best"]] == [25.0, 25.0, 0.0]
    text = effects.shown(study)
    assert "4 of 4 cells finished" in text and "Not final" not in text and "Only 3 seeds a cell" in text
    assert re.search(r"^lr +0\.5 +0\.25 +25 \[\S+, \S+\] +0\.0\d\d +matters$", text, re.M)
    assert re.search(r"^hidden .* not settled$", text, re.M)
    assert re.search(r"^lr=0\.5 +51 \[", text, re.M)


def test_values_are_tuned_for_each_level_on_tuning_seeds_first(tmp_path):
    study = created(tmp_path, **TUNED)
    assert study.record["trials"] == 8 and [*ablation.num_trials(study).values()] == [4, 4]
    worker.work(study, 2)
    rows = show.rows(study)
    tuning, final = ([row for row in rows if row["stage"] == stage] for stage in ("tuning", "final"))
    assert [(row["params"]["hidden"], row["params"]["lr"], row["params"]["gamma"]) for row in tuning] == [
        ("8", "0.25", "0.75"),
        ("8", "0.5", "0.75"),
        ("16", "0.125", "0.75"),
        ("16", "1.5", "0.75"),
    ]
    assert all([*row["scores"]] == ["100", "101"] for row in tuning)
    assert all([*row["scores"]] == ["0", "1", "2"] for row in final)
    assert {(row["params"]["hidden"], row["params"]["lr"]) for row in final} == {("8", "0.5"), ("16", "1.5")}
    assert len(starts(study)) == 4 * 2 + 4 * 3
    assert show.best(study)["stage"] == "final"
    text = effects.shown(study)
    assert re.search(r"Tuned on seeds 100 101.*\nhidden +lr +mean", text)
    assert re.search(r"^16 +1\.5 +\S+ +chosen$", text, re.M) and re.search(r"^16 +0\.875 +1\.5 ", text, re.M)
    worker.work(study, 2)
    assert len(show.rows(study)) == 8


@pytest.mark.slow
def test_final_trials_that_a_killed_worker_did_not_enqueue_are_enqueued_by_the_next(tmp_path, monkeypatch):
    study = created(tmp_path, **TUNED)
    import optuna

    enqueue, calls = optuna.Study.enqueue_trial, []

    def killed(self, values, **options):
        calls.append(values)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return enqueue(self, values, **options)

    monkeypatch.setattr(optuna.Study, "enqueue_trial", killed)
    with pytest.raises(KeyboardInterrupt):
        worker.work(study, 2)
    monkeypatch.setattr(optuna.Study, "enqueue_trial", enqueue)
    worker.work(study, 2)
    final = [row for row in show.rows(study) if row["stage"] == "final"]
    assert Counter(row["state"] for row in final) == {"finished": 4}


def test_a_level_that_cannot_be_tuned_has_no_cells_and_the_others_go_on(tmp_path, capsys):
    asked = TUNED | {"over": ("gamma=0.5/0.75", "hidden=8/16"), "tune": ("gamma:lr=0.25/0.5",)}
    study = created(tmp_path, **asked)  # gamma 0.5 is what a toy fails with
    worker.work(study, 2)
    assert "gamma=0.5: no tuning trial finished, so its cells are not trained" in capsys.readouterr().err
    found = effects.found(study)
    assert [cell["state"] for cell in found["cells"]] == ["waiting", "waiting", "finished", "finished"]
    assert [each["p"] is None for each in found["factors"]] == [False, True]
    assert "no scores yet" in effects.shown(study)


def test_a_cell_that_failed_is_marked_and_what_it_is_set_against_is_left_out(tmp_path):
    study = created(tmp_path, **(PLAIN | {"over": ("gamma=0.5/0.75/0.875", "hidden=8/16")}), options={"lr": 0.25})
    worker.work(study, 2)
    found = effects.found(study)
    assert [cell["state"] for cell in found["cells"][:2]] == ["failed", "failed"]
    assert next(each for each in found["factors"] if each["factor"] == "gamma")["levels"].keys() == {"0.75", "0.875"}
    text = effects.shown(study)
    assert re.search(r"^0\.5 +8 .* failed$", text, re.M)
    assert re.search(r"^gamma=0\.5 hidden=8: seed \d: cannot be trained$", text, re.M)


def test_where_lower_is_better_the_smallest_mean_is_best(tmp_path):
    study = created(tmp_path, **(PLAIN | {"metric": "eval/episodic_return:lower"}))
    worker.work(study, 2)
    found = effects.found(study)
    assert found["factors"][0]["best"] == "0.25" and found["factors"][0]["difference"][0] == 25.0
    mean, low, high = found["factors"][0]["levels"]["0.25"]
    assert mean == 26.0 and low <= mean <= high
    assert [cell["best"] for cell in found["cells"]].index(True) < 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "--tune lr: type FACTOR:OPTION=A/B/C"),
        (["gamma:lr=1/2"], "--tune gamma:lr=1/2: gamma is none of the factors hidden, n_step"),
        (["hidden=9:lr=1/2"], "hidden has the levels 8, 16,16"),
        (["hidden=8:lr=1/2"], "--tune lr: no values for hidden=16,16; add hidden=16,16:lr=A/B/C"),
        (["hidden:lr=1/2", "n_step:gamma=0.5/0.6"], "tuned for each level of one factor, here of hidden"),
        (["hidden:n_step=1/2"], "n_step is a factor itself"),
        (["hidden:lr=-1/2"], "lr -1.0: must be in (0, inf)"),
        (["hidden:lrr=1/2"], "lrr: there is no such option. Did you mean lr?"),
        (["hidden:seed=1/2"], "seed: is not tried"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(words, said):
    factors = parse_space(["hidden=8/16,16", "n_step=1/3"], KNOWN, "study ablate")
    with pytest.raises(UsageError) as raised:
        parse_tuning(words, factors, KNOWN)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_names_alone_stand_for_choices_or_for_values_near_the_default():
    words = spelled_out(["anneal_lr,network", "lr", "n_step=1/3/20"], KNOWN)
    assert words[0] == "anneal_lr=on/off" and words[1].startswith("network=auto/mlp") and words[3] == "n_step=1/3/20"
    assert words[2] == "lr=0.0001667/0.0005/0.0015"
    assert spelled_out(["n-step"], KNOWN) == ["n_step=1/3"]
    for name in ("gamma", "hidden"):
        with pytest.raises(UsageError, match=f"--over {name}: list its values, as {name}=A/B/C"):
            spelled_out([name], KNOWN)
    with pytest.raises(UsageError, match=r"--over n_stepp: there is no such option. Did you mean n_step\?"):
        parse_space(spelled_out(["n_stepp"], KNOWN), KNOWN, "study ablate")


def test_seeds_of_tuning_are_no_final_ones_and_no_cell_is_refused_later(tmp_path):
    with pytest.raises(UsageError, match="--tuning-seeds 2:4: seed 2 is a final one"):
        planned(tmp_path, **(PLAIN | {"tuning_seeds": "2:4"}))
    with pytest.raises(UsageError, match="--num-envs 1000 with --steps 100"):
        planned(tmp_path, **(TUNED | {"tune": ("hidden:num_envs=1/1000",)}))
    with pytest.raises(UsageError, match="--tuning-seeds 3"):
        planned(tmp_path, **(PLAIN | {"tuning_seeds": "3"}))


def test_a_study_that_is_no_ablation_is_refused(tmp_path):
    with pytest.raises(UsageError, match="study toy is no ablation"):
        effects.found(created(tmp_path))
