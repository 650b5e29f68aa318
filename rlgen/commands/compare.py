"""`rlgen compare RUN...`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlgen.text import warn


@dataclass(frozen=True)
class Options:
    """Compare runs: which algorithm is better, by how much, and how sure; says so where it cannot be told."""

    run: tuple[str, ...] = ()  # names, directories, prefixes, globs, wandb's entity/project?algo=dqn (none: every run)
    group: str = ""  # options that make the groups, with commas (none: algo, and every option that differs)
    algo: str = ""  # only these algorithms, with commas, also globs
    env: str = ""  # only these environments, the same way
    data: str = ""  # only these data sets, the same way
    metric: str | None = None  # ranked by this, NAME:higher or NAME:lower if need be (None: the first score all have)
    steps: int | None = None  # score every run at this step (None: at its end); in [1, 10**12]
    threshold: float | None = None  # score to reach, for the steps and time to it (None: the environment's own)
    until_decided: bool = False  # say how many more seeds are needed to tell the groups apart, and how to train them
    out: tuple[str, ...] = ()  # files to write, several with blanks or commas: .html .md .tex .csv .json .png .svg .pdf
    figure: str | None = None  # the only one in a .png, .svg or .pdf: curves, time, final, profiles, ... (None: all)
    wandb: bool = False  # write it as a view of the wandb project too; offline, say what that would hold
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> Any:
    """What can be said about the runs; the files are written."""
    from rlgen.compare import files, terminal
    from rlgen.compare.collect import collect
    from rlgen.compare.comparison import compare

    out = [path for text in options.out for path in text.split(",") if path]
    files.check(out, options.figure)
    entries = collect(options.run, options.runs_dir, options.algo, options.env, options.data)
    group = [key.strip() for key in options.group.split(",") if key.strip()]
    result = compare(
        entries,
        options.metric,
        group,
        options.steps,
        options.threshold,
        until_decided=options.until_decided,
        left_out=entries.left_out,
    )
    files.write(result, out, options.figure)
    if options.wandb:
        from rlgen.compare.wandb_views import publish

        publish(result, group)
    if not options.json:
        return terminal.text(result)
    for each in result["left_out"]:
        warn(f"run {each['run']} is left out: {each['reason']}")
    return result
