import pytest
from toy_runs import make_run, parts, quiet

from rlgen.runs.best import better
from rlgen.runs.files import read_json


def test_lower_nll_is_better(tmp_path):
    run = make_run(tmp_path, data="digits", env_id=None)
    assert run.improved({"eval/nll": 90.0, "eval/elbo": -95.0})
    run.save(*parts(), quiet(run))
    assert not run.improved({"eval/nll": 91.0}) and run.improved({"eval/nll": 89.0})


def test_the_last_evaluation_competes_with_its_first_1000_images():
    """During training a model is evaluated on the first 1,000 held-out images, at its end on all of them."""
    best = {"metric": "eval/nll", "value": 90.0, "step": 10}
    assert better({"eval/nll": 80.0, "eval/first_1000/nll": 91.0}, best, 20) is None, "all of them are easier"
    found = better({"eval/nll": 99.0, "eval/first_1000/nll": 89.0}, best, 20)
    assert found == {"metric": "eval/nll", "value": 89.0, "step": 20}, "all of them are harder"
    assert better({"eval/nll": 89.0}, best, 20) == {"metric": "eval/nll", "value": 89.0, "step": 20}
    only = {"eval/nll": 99.0, "eval/elbo": -99.0, "eval/first_1000/nll": 89.0}
    assert better(only, None, 20) == {"metric": "eval/nll", "value": 89.0, "step": 20}, "the only evaluation"


@pytest.mark.parametrize(("full", "subset", "best"), [(70.0, 85.0, 10), (99.0, 75.0, 20)])
def test_best_json_names_the_usual_metric_and_holds_the_value_that_was_compared(tmp_path, full, subset, best):
    run = make_run(tmp_path, data="digits", env_id=None)
    log = quiet(run)
    for run.step, scores in ((10, {"eval/nll": 80.0}), (20, {"eval/nll": full, "eval/first_1000/nll": subset})):
        run.improved(scores)
        run.save(*parts(), log)
    value = {10: 80.0, 20: subset}[best]
    assert read_json(run.checkpoints / "best.json") == {"metric": "eval/nll", "value": value, "step": best}


def test_what_is_not_finite_or_another_metric_is_never_better():
    assert better({"eval/nll": float("nan")}, None, 1) is None
    assert better({"losses/elbo": 1.0}, None, 1) is None
    assert better({"eval/elbo": 1.0}, {"metric": "eval/nll", "value": 5.0, "step": 1}, 2) is None
