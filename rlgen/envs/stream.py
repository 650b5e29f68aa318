"""Gymnasium vector environments as one stream of true transitions, whatever their autoreset mode.

Shapes: N environments. A *vector step* steps all of them once.

Synchronous and asynchronous environments run with autoreset disabled, and each episode is reset with a seed of its own,
a function of (seed, environment index, episode index). An environment's stream thus depends on its own actions alone.
Where it stands is (episode index, actions so far): small enough to save, and exact when the actions are repeated.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from rlgen.envs import watch
from rlgen.envs.actions import ActionLog
from rlgen.envs.border import to_env
from rlgen.envs.lost import lost
from rlgen.envs.packed import pack, unpack
from rlgen.envs.raised import said
from rlgen.envs.spec import describe
from rlgen.envs.success import successes
from rlgen.envs.vector import LoopVectorEnv, WorkerVectorEnv
from rlgen.errors import (
    BrokenEnvError,
    LostEnvError,
    MissingExtraError,
    NonFiniteEnvError,
    RlgenError,
    StuckEnvError,
    UsageError,
    is_out_of_memory,
)


class Transition(NamedTuple):
    """One vector step. The arrays are not written to afterwards, and are not the caller's to write to."""

    next_obs: np.ndarray  # [N, *obs_shape] the final observation at an episode's end, never the reset one
    reward: np.ndarray  # [N] float32
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    valid: np.ndarray  # [N] bool; False is no transition at all but NEXT_STEP's reset: weigh it nothing, count it not


class EnvStream:
    """A vector environment whose steps are true transitions, and which can be saved in the middle of an episode.

    Args:
        vector_env: any Gymnasium vector environment with Box observations, and actions that `action_spaces` knows.
        seed: of all episodes.
        env_id: its name in `spec`.
        frame_stack: frames that every environment stacks, as `describe` takes it.
        rescale_actions: the same.
        how: how its observations are read, as `describe` takes it.

    Attributes:
        spec: shapes, dtypes and bounds.
        obs: [N, *obs_shape], what to act on now.
        num_steps: vector steps taken.
        success: [N], of the last episode that ended; NaN where the environment does not say.
        successes: of the episodes that ended, as far as environments say; who counts them empties it.
        restores: "exact" or "tried exact" if `load_state` goes back to where `state` was taken, the latter by repeating
            actions; "approximate" if it begins new episodes.

    Raises:
        UsageError: a space that is not supported.
    """

    def __init__(
        self,
        vector_env: VectorEnv,
        seed: int,
        env_id: str | None = None,
        frame_stack: int = 1,
        rescale_actions: bool = True,
        **how: str,
    ):
        self.vector_env, self.seed, self.num_envs = vector_env, seed, vector_env.num_envs
        self.spec = describe(vector_env, env_id, frame_stack, rescale_actions, **how)
        mode = vector_env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._autoreset_mode = mode if isinstance(mode, AutoresetMode) else AutoresetMode(mode)
        self.is_next_step_mode = self._autoreset_mode is AutoresetMode.NEXT_STEP

        self._to_env = to_env(self.spec)
        self._obs_dtype = np.dtype(self.spec.obs_dtype)
        # What of observations may be not finite; none of it is copied.
        self._floats: Any = np.asarray if self.spec.obs_floats is None else self._floats_in_bytes
        # An array that the environment will not write to again. What is new at every step needs no copy.
        self._own: Any = np.asarray if type(vector_env) in (LoopVectorEnv, CartPoleVectorEnv) else np.array

        gym_spec = vector_env.spec
        repeatable = self._autoreset_mode is AutoresetMode.DISABLED and not (gym_spec and gym_spec.nondeterministic)
        self._action_log = ActionLog(self.spec) if repeatable else None
        self._saves_arrays = type(vector_env.unwrapped) is CartPoleVectorEnv  # all it is: arrays and a generator
        self.restores = "exact" if self._saves_arrays else "tried exact" if repeatable else "approximate"

        self.num_steps = 0
        self.success, self.successes = np.full(self.num_envs, math.nan), list[float]()
        self._episode = np.zeros(self.num_envs, np.int64)  # [N] the index of the running episode
        self._begun = np.zeros(self.num_envs, np.int64)  # [N] the vector step at which it began
        self._resets_next = np.zeros(self.num_envs, np.bool_)  # [N] NEXT_STEP: the next step is a reset
        self._all_true = np.ones(self.num_envs, np.bool_)
        self.obs = self._reset(self._all_true)

    def step(self, action: np.ndarray) -> Transition:
        """Step every environment once, and begin the next episode of those whose episode ends.

        Args:
            action: [N] integers in [0, num_actions), or of every number of an action: [N, A] integers in
                [0, num_choices), or [N, A] floats; what they mean is said by `to_env`.

        Raises:
            NonFiniteEnvError: an observation or a reward is not finite.
            LostEnvError: an environment raised, its worker died, or it does not come back.
        """
        obs, reward, terminated, truncated, infos = self._step_vector_env(action)
        self.num_steps += 1
        next_obs, reward = self._own(obs, self._obs_dtype), self._own(reward, np.float32)
        # A sum of squares looks at every number in a fraction of the time of `np.isfinite`, but it may overflow.
        reward_sum, obs_sum = np.vdot(reward, reward), np.vdot(floats := self._floats(next_obs), floats)
        if not (math.isfinite(reward_sum) and math.isfinite(obs_sum)):
            self._check_finite("reward", reward)
            self._check_finite("observation", floats)
        self.obs = next_obs
        if self._action_log is not None:
            self._action_log.packed += action.astype(self._action_log.packed_dtype).tobytes()

        ended, valid = terminated | truncated, self._all_true
        if self.is_next_step_mode:
            valid, self._resets_next = ~self._resets_next, ended
        if np.count_nonzero(ended):  # an eighth of the time of `ended.any()`
            next_obs = self._end_episodes(ended, next_obs, infos)
        return Transition(next_obs, reward, terminated, truncated, valid)

    def _step_vector_env(self, action: np.ndarray) -> tuple[Any, Any, np.ndarray, np.ndarray, dict[str, Any]]:
        watch.calls[0] += 1
        try:
            obs, reward, terminated, truncated, infos = self.vector_env.step(self._to_env(action))
        except (Exception, SystemExit, watch.Overdue) as error:
            raise self._lost(error) from error
        finally:
            watch.calls[0] += 1
        return obs, reward, self._own(terminated), self._own(truncated), infos

    def _end_episodes(self, ended: np.ndarray, obs: np.ndarray, infos: dict[str, Any]) -> np.ndarray:
        """Begin the next episodes of those in `ended` [N]; returns the observations that this step led to."""
        self.success = np.where(ended, successes(self.vector_env, infos), self.success)
        self.successes += self.success[ended & np.isfinite(self.success)].tolist()
        if self.is_next_step_mode:
            return obs
        if self._autoreset_mode is AutoresetMode.DISABLED:
            self._episode[ended] += 1
            self._begun[ended] = self.num_steps
            self.obs = self._reset(ended)
            if self._action_log is not None:
                self._action_log.forget_before(int(self._begun.min()))
            return obs
        obs = obs.copy()  # SAME_STEP: they were reset already
        obs[ended] = np.stack(infos["final_obs"][ended])  # `ended`, not the mask `_final_obs`: ALE has none
        self._check_finite("observation", self._floats(obs))
        return obs

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        """Begin the episodes `self._episode` of the environments in `mask`; the observations of all [N, *obs_shape]."""
        seeds: list[int | None] = [None] * self.num_envs
        for i in mask.nonzero()[0].tolist():
            seeds[i] = episode_seed(self.seed, i, int(self._episode[i]))
        vector_env: Any = self.vector_env
        watch.calls[0] += 1
        try:
            if self._autoreset_mode is AutoresetMode.DISABLED:
                obs, _ = vector_env.reset(seed=seeds, options={"reset_mask": mask})
            else:
                takes_list = isinstance(vector_env.unwrapped, (SyncVectorEnv, AsyncVectorEnv))
                obs, _ = vector_env.reset(seed=seeds if takes_list else seeds[0])
        except (Exception, SystemExit, watch.Overdue) as error:
            raise self._lost(error) from error
        finally:
            watch.calls[0] += 1
        obs = self._own(obs, self._obs_dtype)
        self._check_finite("observation", self._floats(obs))
        return obs

    def _floats_in_bytes(self, obs: np.ndarray) -> np.ndarray:
        return obs[..., : 4 * (self.spec.obs_floats or 0)].view(np.float32)

    def _check_finite(self, name: str, values: np.ndarray) -> None:
        if math.isfinite(np.vdot(values, values)):  # as in `step`, of any shape
            return
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.size:
            value = next(number for number in values[bad[0]].ravel().tolist() if not math.isfinite(number))
            raise NonFiniteEnvError(
                f"environment {bad[0]} of {self.num_envs} ({self.spec.env_id}) returned a non-finite {name}, "
                f"{value}, at vector step {self.num_steps}: mend the environment",
                name,
                value,
            )

    def _lost(self, error: BaseException) -> LostEnvError:
        return lost(error, self.vector_env, self.spec.env_id, self.num_steps, self._begun, self._episode)

    def state(self) -> dict[str, Any]:
        """Where every environment stands, of plain types that `torch.load(weights_only=True)` reads."""
        state: dict[str, Any] = {"num_steps": self.num_steps, "episode": self._episode.tolist()}
        if self._action_log is not None:
            state["begun"] = self._begun.tolist()
            state["actions"] = bytearray(self._action_log.packed)  # not bytes: torch's safe loader refuses empty ones
        elif self._saves_arrays:
            members = vars(self.vector_env.unwrapped).items()
            state["arrays"] = {name: pack(value) for name, value in members if isinstance(value, np.ndarray)}
            state["generator"] = self.vector_env.np_random.bit_generator.state
            state["ended"] = self._resets_next.tolist()
        if self.restores != "approximate":
            state["obs"] = pack(self.obs)
        return state

    def begin_anew(self) -> None:
        """Keep no actions to repeat: these environments do not repeat themselves, and a resume begins new episodes."""
        self._action_log, self.restores = None, "approximate"

    def load_state(self, state: dict[str, Any]) -> bool:
        """Go back to where `state` was taken, or, where that is not exactly possible, begin new episodes.

        Returns:
            True if every environment stands exactly there: it has the same observation.
        """
        self.num_steps = state["num_steps"]
        if len(state["episode"]) == self.num_envs:
            if self._action_log is not None and "actions" in state and self._repeat_actions(self._action_log, state):
                return True
            if self._saves_arrays and state.get("arrays", {}).keys() == self.state()["arrays"].keys():
                self._restore_arrays(state)
                return True
        # No environment can have begun more episodes than it took steps: these indices, so these seeds, are new.
        self._episode[:] = max(self.num_steps, *state["episode"]) + 1
        self._begun[:] = self.num_steps
        if self._action_log is not None:
            self._action_log.restart(self.num_steps)
        self._resets_next[:] = False
        self.obs = self._reset(self._all_true)
        return False

    def _repeat_actions(self, log: ActionLog, state: dict[str, Any]) -> bool:
        """Repeat the running episodes, row by row; one that began later waits for its row, and is reset there."""
        self._episode, self._begun = np.array(state["episode"]), np.array(state["begun"])
        log.restart(int(self._begun.min()), state["actions"])
        self.obs = self._reset(self._all_true)
        for row, action in enumerate(log.unpack(self.num_steps - log.start)):
            obs, terminated, truncated = self._step_those(self._begun <= log.start + row, action)
            # Where a running episode ends, the observations tell that repeating fails.
            resets = terminated | truncated | (self._begun == log.start + row + 1)
            self.obs = self._reset(resets) if np.count_nonzero(resets) else np.array(obs, self._obs_dtype)
        return np.array_equal(self.obs, unpack(state["obs"]))

    def _step_those(self, mask: np.ndarray, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        """Step the environments in `mask` [N]: an action that is another state's may be one that the others refuse."""
        vector_env: Any = self.vector_env
        if not isinstance(vector_env, LoopVectorEnv | WorkerVectorEnv):
            obs, _, *ended, _ = self._step_vector_env(action)
            return obs, *ended
        watch.calls[0] += 1
        try:
            return vector_env.step_those(mask, self._to_env(action))
        except (Exception, SystemExit, watch.Overdue) as error:
            raise self._lost(error) from error
        finally:
            watch.calls[0] += 1

    def _restore_arrays(self, state: dict[str, Any]) -> None:
        vars(self.vector_env.unwrapped).update({name: unpack(value) for name, value in state["arrays"].items()})
        self.vector_env.np_random.bit_generator.state = state["generator"]
        self._resets_next = np.array(state["ended"], np.bool_)
        self.obs = np.asfortranarray(unpack(state["obs"]))  # as it lies in memory: another order rounds differently

    @property
    def fps(self) -> float:
        """Frames a second at which the environment is to be looked at: its own, else 30."""
        fps = self.vector_env.metadata.get("render_fps")
        return float(fps) if isinstance(fps, int | float) and fps > 0 else 30.0

    def render(self) -> np.ndarray:
        """What the first environment looks like now, uint8 [H, W, 3]; it was made with `render_mode="rgb_array"`.

        Raises:
            MissingExtraError: the package that draws it is not installed.
        """
        try:
            with watch.call(f"drawing {self.spec.env_id!r}"):
                frames: Any = self.vector_env.render()
        except Exception as error:
            if isinstance(error, RlgenError) or is_out_of_memory(error):
                raise
            if isinstance(error, gym.error.DependencyNotInstalled | ImportError):
                package = "gymnasium[classic-control]"  # pygame, which draws most of Gymnasium's own
                raise MissingExtraError(f"pictures of {self.spec.env_id!r} need a package", package) from error
            raise BrokenEnvError(f"environment {self.spec.env_id!r}: render() raised {said(error)}") from error
        if frames is None or frames[0] is None:
            raise UsageError(
                f"environment {self.spec.env_id!r} draws no pictures (render_mode rgb_array): leave out --video"
            )
        return frames[0]

    def close(self) -> None:
        """Close the environments; worker processes are killed if they must be, and what does not close is left."""
        has_workers = isinstance(self.vector_env.unwrapped, AsyncVectorEnv)
        with contextlib.suppress(StuckEnvError), watch.call(f"closing {self.spec.env_id!r}"):
            self.vector_env.close(**({"terminate": True} if has_workers else {}))


def episode_seed(seed: int, index: int, episode: int) -> int:
    """The seed of one episode of one environment; 31 bits, which every environment takes."""
    return int(np.random.SeedSequence((seed, index, episode)).generate_state(1)[0] >> 1)
