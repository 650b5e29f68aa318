"""What is said of a run's environments or images before it begins."""

from __future__ import annotations

from typing import Any

from rlgen.core.source import EnvSource, ImageSource
from rlgen.envs.border import in_words
from rlgen.text import warn


def say(source: Any) -> None:
    """A line on stderr for what the user may not expect."""
    if isinstance(source, EnvSource) and (actions := in_words(source.spec)):
        warn(actions, note=True)
    if isinstance(source, EnvSource) and not source.has_time_limit:
        limit = f"evaluation cuts its episodes after {source.max_episode_steps:,} steps (--max-episode-steps)"
        warn(f"environment {source.env_id!r} has no time limit: {limit}", note=True)
    if isinstance(source, ImageSource):
        warn(source.data.about(), note=True)
