"""Atari as everyone means it: the standard task of Machado et al. 2018, of single environments and ALE's vector class.

Both give the same frames, rewards and ends for the same game and actions, bit for bit (`tests/envs/test_atari.py`).
What the task is stands in its protocol card, which config.json keeps and `rlgen compare` reads.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec as GymSpec
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation, TimeLimit

from rlgen.errors import MissingExtraError, UsageError

FRAME_SKIP, NOOPS, SIDE = 4, 30, 84
MAX_FRAMES = 108_000  # of an episode: half an hour of play
REWARD_CLIP = 1.0  # what is learned from; a score is of the game's own rewards
RESIZED = "661df602"  # digest of a picture resized as ALE's vector class does it, by the OpenCV that is part of it


def standard_task(spec: GymSpec, frame_stack: int, life_loss: bool) -> GymSpec:
    """What a game of ALE is made from as the standard task.

    Args:
        spec: as ALE registers it, with what is asked for beyond.
        frame_stack: frames in an observation.
        life_loss: whether a lost life ends an episode; the next one goes on with the next life.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    if find_spec("cv2") is None:
        raise MissingExtraError(f"environment {spec.id!r} needs OpenCV (cv2)", "opencv-python-headless")
    kwargs = dict(spec.kwargs)
    is_fixed = (
        isinstance(kwargs.get("frameskip"), int) and kwargs["frameskip"] > 1
    )  # NoFrameskip has 1, older ids (2, 5)
    skip = kwargs.pop("frameskip") if is_fixed else FRAME_SKIP
    frames = kwargs.pop("max_num_frames_per_episode", None) or MAX_FRAMES
    task = {"frame_skip": skip, "frame_stack": frame_stack, "life_loss": life_loss, "max_steps": -(-frames // skip)}
    return replace(
        spec,
        entry_point=f"{__name__}:{make_game.__name__}",
        vector_entry_point=f"{__name__}:{make_games.__name__}",
        nondeterministic=spec.nondeterministic or life_loss,  # a life begins where the one before it ended
        kwargs={name: value for name, value in kwargs.items() if name != "frameskip"} | task,
    )


def of_task(spec: GymSpec) -> dict[str, Any]:
    """What `EnvSpec` says of the standard task, by its fields."""
    frame_stack = spec.kwargs["frame_stack"]
    return {
        "frame_stack": frame_stack,
        "frame_padding": "zero",
        "reward_clip": REWARD_CLIP,
        "protocol": {
            "frame_skip": spec.kwargs["frame_skip"],
            "max_pool": 2,
            "sticky": spec.kwargs.get("repeat_action_probability", 0.25),
            "noops": NOOPS,
            "fire_reset": True,
            "resize": f"{SIDE}x{SIDE} area{_other_resize()}",
            "grey": True,
            "stack": frame_stack,
            "clip": REWARD_CLIP,
            "life_loss": spec.kwargs["life_loss"],
            "minimal_actions": not spec.kwargs.get("full_action_space", False),
            "max_frames": spec.kwargs["max_steps"] * spec.kwargs["frame_skip"],
            "ale_py": importlib.metadata.version("ale-py"),
        },
    }


def about(protocol: dict[str, Any]) -> str:
    """A protocol card in one line."""
    shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in protocol.items()}
    card = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )
    return f"Atari's standard task: {card}"


def make_game(
    frame_skip: int, frame_stack: int, life_loss: bool, max_steps: int, render_mode: str | None = None, **kwargs: Any
) -> gym.Env:
    """One environment, its observations uint8 [frame_stack, 84, 84]; the keyword arguments are those of `AtariEnv`."""
    import ale_py
    from ale_py.env import AtariEnv

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # it greets on stderr
    env: gym.Env = AtariEnv(frameskip=1, obs_type="grayscale", render_mode=render_mode, **kwargs)  # type: ignore
    env = TimeLimit(AtariPreprocessing(Begin(env), noop_max=0, frame_skip=frame_skip, screen_size=SIDE), max_steps)
    return FrameStackObservation(LifeLoss(env) if life_loss else env, frame_stack, padding_type="zero")


def make_games(
    num_envs: int, frame_skip: int, frame_stack: int, life_loss: bool, max_steps: int, **kwargs: Any
) -> VectorEnv:
    """ALE's vector class, the same task as `make_game`; the keyword arguments are its own."""
    from ale_py.vector_env import AtariVectorEnv

    if life_loss:
        raise UsageError(
            "--atari life-loss with --vectorization native: ALE's vector class begins a new game after a lost life, "
            "use --vectorization sync or async"
        )
    envs = AtariVectorEnv(
        num_envs=num_envs,
        frameskip=frame_skip,
        stack_num=frame_stack,
        noop_max=NOOPS + 1,  # it draws from one less
        reward_clipping=False,
        max_num_frames_per_episode=2**30,
        autoreset_mode=AutoresetMode.NEXT_STEP,
        **kwargs,
    )
    return Games(envs, max_steps)


class Begin(gym.Wrapper):
    """An episode begins with up to 30 frames of no action, the first of them FIRE where the game has that action."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        game: Any = self.unwrapped
        noops, meanings = int(game.np_random.integers(NOOPS + 1)), game.get_action_meanings()
        if "FIRE" in meanings:
            self.env.step(meanings.index("FIRE"))
            noops -= 1
        for _ in range(noops):
            _, _, terminated, truncated, _ = self.env.step(0)
            if terminated or truncated:
                self.env.reset(options=options)
        return obs, info


class LifeLoss(gym.Wrapper):
    """A lost life ends an episode; the next one is the same game with the next life, as long as there is one."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.is_over, self.lives = True, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if not self.is_over:
            obs, _, terminated, truncated, info = self.env.step(0)
            self.is_over = terminated or truncated
        if self.is_over:
            obs, info = self.env.reset(seed=seed, options=options)
        self.is_over, self.lives = False, self.unwrapped.ale.lives()  # type: ignore[attr-defined]
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        lives, self.is_over = self.unwrapped.ale.lives(), terminated or truncated  # type: ignore[attr-defined]
        return obs, reward, terminated or lives < self.lives, truncated, info


class Games(VectorWrapper):
    """ALE's vector class, whose episodes begin by `reset` alone, each with a seed of its own: as `LoopVectorEnv`.

    The time limit is counted here: where its own ends an episode, the last observation lacks the last frame.
    """

    def __init__(self, env: VectorEnv, max_steps: int) -> None:
        super().__init__(env)
        self.max_steps, self.steps = max_steps, np.zeros(env.num_envs, np.int64)  # [N] of the running episodes
        self.metadata = env.metadata | {"autoreset_mode": AutoresetMode.DISABLED}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Reset those in `options["reset_mask"]` [N], each with its own of the seeds [N]; the others stay."""
        mask = options["reset_mask"]
        self.steps[mask] = 0
        return self.env.reset(seed=np.array(seed, object)[mask].astype(np.int64), options=options)

    def step(self, actions: np.ndarray) -> tuple[Any, Any, np.ndarray, np.ndarray, dict[str, Any]]:
        obs, reward, terminated, _, info = self.env.step(actions)
        self.steps += 1
        return obs, reward, terminated, self.steps >= self.max_steps, info


def _other_resize() -> str:
    """Nothing where the OpenCV that single environments use resizes as ALE's own does; else its version."""
    import cv2

    picture = (np.arange(210 * 160) ** 2 * 7919 // 13 % 256).astype(np.uint8).reshape(210, 160)
    resized = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return "" if hashlib.sha256(resized.tobytes()).hexdigest().startswith(RESIZED) else f", OpenCV {cv2.__version__}"
