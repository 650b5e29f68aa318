"""What is said of a run's environments or images before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlgen.core.normalization import is_image
from rlgen.core.source import EnvSource, ImageSource
from rlgen.envs import atari
from rlgen.envs.border import in_words
from rlgen.envs.parts import about
from rlgen.text import warn


def say(source: Any, config: Mapping[str, Any]) -> None:
    """A line on stderr for what the user may not expect.

    Args:
        source: of the run.
        config: flat.
    """
    if isinstance(source, EnvSource) and (seen := about(source.spec.obs_parts)):
        warn(seen, note=True)
    if isinstance(source, EnvSource) and (actions := in_words(source.spec)):
        warn(actions, note=True)
    if isinstance(source, EnvSource) and not source.has_time_limit:
        limit = f"evaluation cuts its episodes after {source.max_episode_steps:,} steps (--max-episode-steps)"
        warn(f"environment {source.env_id!r} has no time limit: {limit}", note=True)
    if config.get("normalize_obs") and is_image(source.spec):
        left = "images, which a network scales itself: --normalize-obs leaves them as they are"
        warn(f"observations of {source.env_id!r} are {left}", note=True)
    if isinstance(source, EnvSource) and source.spec.protocol:
        warn(atari.about(source.spec.protocol), note=True)
    if isinstance(source, ImageSource):
        warn(source.data.about(), note=True)
