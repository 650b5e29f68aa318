"""A comparison as views of wandb projects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rlgen.compare.comparison import Comparison
from rlgen.compare.entry import Entry
from rlgen.compare.groups import Task
from rlgen.compare.rules import TRAINING_METRICS
from rlgen.compare.wandb_api import answers, connect, errors_in_one_line
from rlgen.errors import UsageError, install


@dataclass
class View:
    """What one view shows: the runs of a task that are in one project."""

    entity: str  # empty: the account's own
    project: str
    task: str
    metrics: list[str]  # a panel each
    group_by: list[str]  # options
    run_ids: list[str]


def publish(comparison: Comparison, keys: Sequence[str] = ()) -> None:
    """Write a view for each task and project, or print what the views would hold.

    Args:
        comparison: of runs of which some are on wandb.
        keys: options that group the runs; by default the algorithm and the options that make the groups.

    Raises:
        UsageError: wandb does not take a view.
    """
    tasks = zip(comparison.tasks, comparison["tasks"], strict=True)
    views = [view for task, described in tasks for view in _views(task, described, keys)]
    if not views:
        return print("wandb views not written: none of these runs is on wandb")
    try:
        api = connect("not written")
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except (UsageError, ImportError) as error:
        reason = error if isinstance(error, UsageError) else f"not written: {install('wandb-workspaces')}"
        print(f"wandb views {reason}; they would be:")
        for view in views:
            where = f"{view.entity or 'YOU'}/{view.project}"
            print(f"  {where}: 'rlgen compare: {view.task}', {len(view.run_ids)} runs by {', '.join(view.group_by)}")
            print(f"    panels, mean with min and max against global_step: {', '.join(view.metrics)}")
        return None
    for view in views:
        with errors_in_one_line(f"cannot write the view of {view.task} to wandb's {view.project}"):
            line: Any = {"x": "global_step", "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
            # None: grouped as the list of runs is
            line["groupby"] = reports.Config(view.group_by[0]) if len(view.group_by) == 1 else None
            panels = [reports.LinePlot(title=metric, y=[metric], **line) for metric in view.metrics]
            sections = [workspaces.Section(name=view.task, panels=panels, is_open=True)]
            name = f"rlgen compare: {view.task}"
            workspace = workspaces.Workspace(view.entity or api.default_entity, view.project, name, sections)
            workspace.settings = workspaces.WorkspaceSettings(x_axis="global_step")
            workspace.runset_settings = workspaces.RunsetSettings(
                filters=workspaces.And(workspaces.Metric("ID").isin(view.run_ids)),
                groupby=[workspaces.Config(key) for key in view.group_by],
            )
            for saved in answers(lambda: [workspace.save()]):  # noqa: B023
                print(f"wandb view: {saved.url}")


def _views(task: Task, described: dict[str, Any], keys: Sequence[str]) -> Iterator[View]:
    """A view for each project that has runs of the task."""
    projects: dict[tuple[str, str], list[Entry]] = {}
    for entry in [entry for group in task.groups for entry in group.entries]:
        if "wandb_id" in entry.info and entry.config.get("wandb") != "disabled":
            entity, _, project = entry.info.get("wandb", "").partition("/")
            entity = entity or entry.config.get("wandb_entity") or os.environ.get("WANDB_ENTITY", "")
            project = project or entry.config.get("wandb_project", "rlgen")
            projects.setdefault((entity, project), []).append(entry)
    differing = [key for key in described["differences"] if any(f" {key}=" in group.label for group in task.groups)]
    metrics = list(dict.fromkeys([task.metric, TRAINING_METRICS[task.kind]]))
    for (entity, project), entries in projects.items():
        algo = "exp_name" if any(entry.info.get("exp_name") for entry in entries) else "algo"
        group_by = [algo if key == "algo" else key for key in keys or ("algo", *differing)]
        yield View(entity, project, task.name, metrics, group_by, [entry.info["wandb_id"] for entry in entries])
