"""What to type instead of an environment id that is not registered."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import gymnasium as gym

# Games by what their ids are made of: those of ALE's that papers report (Bellemare et al. 2013), and MinAtar's five.
GAMES = {
    "ALE/{}-v5": (
        "Alien Amidar Assault Asterix Asteroids Atlantis BankHeist BattleZone BeamRider Berzerk Bowling Boxing "
        "Breakout Centipede ChopperCommand CrazyClimber Defender DemonAttack DoubleDunk Enduro FishingDerby Freeway "
        "Frostbite Gopher Gravitar Hero IceHockey Jamesbond Kangaroo Krull KungFuMaster MontezumaRevenge MsPacman "
        "NameThisGame Phoenix Pitfall Pong PrivateEye Qbert Riverraid RoadRunner Robotank Seaquest "
        "Skiing Solaris SpaceInvaders StarGunner Surround Tennis TimePilot Tutankham UpNDown Venture VideoPinball "
        "WizardOfWor YarsRevenge Zaxxon"
    ),
    "MinAtar/{}-v1": "Asterix Breakout Freeway Seaquest SpaceInvaders",
}


def suggest(name: str, there: Sequence[str] = ()) -> str:
    """What to type instead of an id that is not registered.

    Args:
        name: that was typed.
        there: what else it may be, of its module.
    """
    base, _, version = name.rpartition("-v")
    versions = [int(key[len(base) + 2 :]) for key in gym.registry if re.fullmatch(re.escape(base) + r"-v\d+", key)]
    if versions and version.isdigit():
        newest = f"{base}-v{max(versions)}"
        return f"it is retired, use {newest}" if int(version) < max(versions) else f"its newest version is {newest}"
    if games := games_called(name):
        return f"did you mean {' or '.join(games)}?"
    ids = {key.lower(): key for key in (there or gym.registry)}
    close = difflib.get_close_matches(name.lower(), ids, n=1)
    if there and not close:
        return "there is no class and no registered id of that name"
    return f"did you mean {ids[close[0]]}?" if close else "`rlgen list envs` shows those that do"


def games_called(name: str) -> list[str]:
    """The ids of the games of that name, whatever its case, blanks and version."""
    wanted = re.sub(r"[\W_]", "", re.sub(r"-v\d+$", "", name)).lower()
    return [form.format(game) for form, games in GAMES.items() for game in games.split() if game.lower() == wanted]
