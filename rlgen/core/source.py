"""Where transitions come from: an EnvSource steps environments. Images come from `image_source.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.batch import map_parts
from rlgen.core.buffer import Buffer
from rlgen.core.form import check_form
from rlgen.core.interruption import never
from rlgen.core.learner import Agent
from rlgen.core.play import MAX_ENVS, act, first_memory, next_memory, play
from rlgen.envs.check import check_picture
from rlgen.envs.make import has_time_limit, make_envs, try_one
from rlgen.envs.saved import check_saved
from rlgen.envs.spec import EnvSpec, check_fits
from rlgen.envs.stream import EnvStream
from rlgen.errors import BrokenEnvError, UsageError
from rlgen.nets.acting import steady
from rlgen.video import Clip, filming

EVAL_SEED = 10_000  # added to the run's seed: evaluation episodes are never training episodes
MAX_ROWS = 128  # vector steps that go to the buffer at once


class EnvSource:
    """Steps Gymnasium environments with the learner's actions.

    Args:
        env_id: any Gymnasium id, also `module:Env-v0`.
        num_envs: environments stepped together, N.
        vectorization: auto, sync, async or native, as in `make_envs`.
        seed: of the run; evaluation uses its own episodes.
        eval_episodes: greedy episodes of an evaluation.
        video: evaluations record their first episode; whether the environment draws is tried first.
        eval_max_episode_steps: of an evaluation's episodes, where the environment has no limit of its own.
        env_check: try an environment first.
        network: of its observations, in `spec`.
        eval_env_kwargs: arguments of the environments of evaluations, above `env_kwargs`.
        options: more of `make_envs`.
    """

    streams = True

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        vectorization: str,
        seed: int,
        eval_episodes: int,
        video: bool = False,
        eval_max_episode_steps: int = 27_000,
        env_check: bool = False,
        network: str = "auto",
        eval_env_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.env_id, self.vectorization, self.seed, self.options = env_id, vectorization, seed, options
        self.eval_episodes, self.video, self.eval_max_episode_steps = eval_episodes, video, eval_max_episode_steps
        self.eval_env_kwargs = eval_env_kwargs or {}
        self.has_time_limit = options.get("max_episode_steps") is not None or has_time_limit(env_id)
        if video:
            self.check_video()
        self.envs: EnvStream = make_envs(env_id, num_envs, vectorization, seed, try_first=env_check, **options)
        self.spec: EnvSpec = replace(self.envs.spec, network=network)
        self.options["masks"] = self.spec.has_mask  # as found out just now
        if self.eval_env_kwargs:
            self.check_evaluation(env_check)
        self.restores_why = ""
        self.memory: dict[str, Tensor] | None = None  # [N, ...] each, what the agent remembers; None before it acts
        self._return = np.zeros(num_envs)  # [N] of the episodes under way
        self._begun = np.zeros(num_envs, dtype=np.int64)  # [N] the vector step before their first
        self._finished: list[tuple[float, int]] = []  # return and length of episodes since the last `metrics`

    @steady
    def fill(self, buffer: Buffer, learner: Agent) -> int:
        """Take `learner.rows_per_turn` steps in every environment; the extra step of an autoreset is not counted."""
        ticks, rows = 0, list[dict[str, Any]]()
        learner.uniforms.begin(learner.rows_per_turn)
        for left in reversed(range(learner.rows_per_turn)):
            obs: Any = self.envs.obs if learner.acts_on_arrays else map_parts(torch.from_numpy, self.envs.obs)
            acted = self.act_with_memory(learner, obs) if learner.memory_spec else learner.act(obs)
            step = self.envs.step(np.asarray(acted["action"]))
            rows.append({"obs": obs, **acted, **step._asdict()})
            if learner.memory_spec:
                self.remember(rows[-1])
            if not left or len(rows) == MAX_ROWS:
                buffer.add(*rows)
                ticks += self.count(rows)
                rows = []
        return ticks

    def act_with_memory(self, learner: Agent, obs: Any) -> dict[str, Any]:
        """What the agent does, given what it remembers of the episodes under way."""
        if self.memory is None:
            self.memory = first_memory(learner, self.spec.num_envs)
        return act(learner, obs, self.memory)

    def remember(self, row: dict[str, Any]) -> None:
        """Keep what the agent remembers; the row gets the memory that its actions were chosen with."""
        over = row["terminated"] | row["truncated"] | ~row["valid"]
        row["memory"], self.memory = self.memory, next_memory(row, over)

    def count(self, rows: Sequence[dict[str, Any]]) -> int:
        """Add up returns and lengths of episodes over T rows; returns how many transitions are valid."""
        reward, valid = np.array([row["reward"] for row in rows]), np.array([row["valid"] for row in rows])  # [T, N]
        ended = np.array([row["terminated"] for row in rows]) | np.array([row["truncated"] for row in rows])  # [T, N]
        num_valid = int(np.count_nonzero(valid))  # a quarter of the time of `all` or `sum`
        if num_valid < valid.size or np.count_nonzero(ended):
            reward = self.close_episodes(reward, valid, ended)
        self._return = self._return + reward.sum(0, dtype=np.float64)
        return num_valid

    def close_episodes(self, reward: np.ndarray, valid: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Note the episodes that ended in T rows [T, N]; returns the rewards after the last row that one ended in."""
        counted = 0  # rows
        for t in (ended | ~valid).any(1).nonzero()[0].tolist():
            self._return = self._return + reward[counted : t + 1].sum(0, dtype=np.float64)
            counted, now = t + 1, self.envs.num_steps - len(reward) + t + 1
            length = now - self._begun[ended[t]]
            self._finished += zip(self._return[ended[t]].tolist(), length.tolist(), strict=True)
            over = ended[t] | ~valid[t]
            self._return[over], self._begun[over] = 0, now
        return reward[counted:]

    def metrics(self) -> dict[str, float]:
        """Means of return, length and success of the training episodes that ended since the last call, if any did."""
        if not self._finished:
            return {}
        returns, lengths = np.array(self._finished).T
        self._finished = []
        rate = {"charts/success_rate": float(np.mean(self.envs.successes))} if self.envs.successes else {}
        self.envs.successes = []
        return rate | {"charts/episodic_return": float(returns.mean()), "charts/episodic_length": float(lengths.mean())}

    def evaluate(self, learner: Agent, final: bool = False, interrupted: Callable[[], bool] = never) -> dict[str, Any]:
        """Greedy return over `eval_episodes` fixed episodes, and how far the agent overestimates it."""
        seed = self.seed + EVAL_SEED
        result = self.play(learner, self.eval_episodes, seed, interrupted=interrupted)
        returns = np.array(result.pop("returns"))
        if self.video:
            result["videos/episode"] = self.record(learner, seed, interrupted)
        return {
            "eval/episodic_return": float(returns.mean()),
            "eval/episodic_return_std": float(returns.std()),
        } | result

    def play(
        self,
        learner: Agent,
        num_episodes: int,
        seed: int,
        interrupted: Callable[[], bool] = never,
    ) -> dict[str, Any]:
        """Play whole greedy episodes in environments of their own, the same ones by seed: `rlgen.core.play.play`."""
        with closing(self.make_for_play(min(num_episodes, MAX_ENVS), seed)) as envs:
            check_fits(envs.spec, self.spec)
            return play(learner, envs, num_episodes, interrupted=interrupted)

    def record(self, learner: Agent, seed: int, interrupted: Callable[[], bool] = never) -> Clip | None:
        """A video of the first episode that `play` plays; None where it cannot be encoded."""
        with closing(self.make_for_play(1, seed, render=True)) as envs, filming(envs.fps) as film:
            play(learner, envs, 1, film.add, interrupted)
            return film.end()

    def make_for_play(self, num_envs: int, seed: int, render: bool = False, try_first: bool = False) -> EnvStream:
        """Environments for whole episodes, in this process where they draw."""
        in_process = self.vectorization == "async" or (render and self.vectorization == "auto")
        vectorization, mode = "sync" if in_process else self.vectorization, "rgb_array" if render else None
        env_kwargs = {**(self.options.get("env_kwargs") or {}), **self.eval_env_kwargs}
        options = {**self.options, "render_mode": mode, "bound": self.eval_max_episode_steps, "env_kwargs": env_kwargs}
        if options.get("atari") == "life-loss":
            options["atari"] = "standard"  # whole games
        return make_envs(self.env_id, num_envs, vectorization, seed, try_first=try_first, **options)

    def check_evaluation(self, env_check: bool) -> None:
        """Refuse evaluations in an environment that cannot be made, or that the networks do not fit."""
        try:
            with closing(self.make_for_play(1, self.seed, try_first=env_check)) as envs:
                check_fits(envs.spec, self.spec)
        except BaseException as error:
            self.envs.close()
            if isinstance(error, UsageError):
                raise UsageError(f"--eval-env-kwargs: {error}") from error
            raise

    def check_video(self) -> None:
        """Refuse an environment that draws no pictures."""
        with closing(self.make_for_play(1, self.seed, render=True)) as envs:
            try:
                check_picture(envs.render(), self.env_id)
            except BrokenEnvError as error:
                raise UsageError(f"{error}; --video needs pictures: mend it, or leave out --video") from error

    @cached_property
    def restores(self) -> str:
        """What is equal after a resume. A run asks at its start: whether environments repeat themselves is tried then.

        Where they do not, a resume begins new episodes; where it could not be tried, it repeats the running ones.
        """
        if self.envs.restores != "tried exact":
            return self.envs.restores
        found = try_one(self.env_id, **self.options)
        self.restores_why = found.why
        if found.repeats is False:
            self.envs.begin_anew()
        return "tried exact" if found.repeats else "approximate"

    def state_dict(self) -> dict[str, Any]:
        """Where every environment stands, the episodes under way, and what the agent remembers."""
        return {
            "envs": self.envs.state(),
            "return": self._return.tolist(),
            "length": (self.envs.num_steps - self._begun).tolist(),
            "finished": [list(pair) for pair in self._finished],
            "successes": list(self.envs.successes),
            "memory": {name: value.cpu() for name, value in self.memory.items()} if self.memory else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Go on where the state was taken; False if the environments cannot, and new episodes begin."""
        now = self.state_dict()
        check_form(state, now | {"finished": [[0.0, 0]], "successes": [0.0]}, "source")
        check_saved(state, now)
        exact = self.envs.load_state(state["envs"])
        self._finished = [(episode_return, length) for episode_return, length in state["finished"]]
        self.envs.successes = [float(success) for success in state.get("successes", ())]
        self._return[:] = state["return"] if exact else 0
        self._begun[:] = self.envs.num_steps - np.array(state["length"] if exact else 0)
        self.memory = state.get("memory") if exact and state.get("memory") else None
        return exact

    def close(self) -> None:
        """Stop the environments."""
        self.envs.close()
