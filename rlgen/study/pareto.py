"""Parameters as a second objective: how many the networks of a trial have, and which trials none beats in both."""

from __future__ import annotations

from typing import Any

from rlgen.errors import UsageError
from rlgen.options import config
from rlgen.study.record import Study
from rlgen.study.seeds import FailedTrialError
from rlgen.study.show import rows
from rlgen.text import cell, fitted, table


def parameters(study: Study, params: dict[str, Any]) -> int:
    """Numbers that these values' networks learn.

    Raises:
        FailedTrialError: there are no such networks.
    """
    from rlgen import experiment

    fixed = {"no_preset": True, "device": "cpu", "seed": study.record["seeds"][0], "runs_dir": str(study.runs_dir)}
    try:
        found = config.resolve(study.record["algo"], study.values(params) | fixed).config
        with experiment.built(found, found["runs_dir"]) as (learner, _, _):
            return sum(param.numel() for param in learner.parameters() if param.requires_grad)
    except UsageError as error:
        raise FailedTrialError(str(error)) from error


def front(study: Study) -> list[dict[str, Any]]:
    """The finished trials that no other one beats or equals in both, that with fewest parameters first."""
    sign = 1 if study.record["direction"] == "maximize" else -1
    finished = [row for row in rows(study) if row["state"] == "finished"]
    kept: list[dict[str, Any]] = []
    for row in sorted(finished, key=lambda row: (row["parameters"], -sign * row["score"], row["trial"])):
        if not kept or sign * row["score"] > sign * kept[-1]["score"]:
            kept.append(row)
    return kept


def shown(study: Study) -> str:
    """The Pareto table: more parameters only where the score is better, too."""
    names = [parameter.name for parameter in study.space]
    lines = [
        [
            str(row["trial"]),
            f"{row['parameters']:,}",
            cell(row["score"]),
            *(cell(row["params"][name]) for name in names),
        ]
        for row in front(study)
    ]
    if not lines:
        return "Pareto table: no trial is finished"
    first, *rest = fitted(["trial", "parameters", "score", *names], lines)
    return "Pareto table: no other trial has a better score with as few parameters\n" + table(first, rest)
