"""Where batches come from: an EnvSource streams transitions, an ImageSource fills the buffer once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rlgen.core.buffer import Buffer
from rlgen.core.learner import Agent, Batch, Generative, Learner
from rlgen.data.load import ImageData
from rlgen.envs.make import make_envs
from rlgen.envs.spec import EnvSpec
from rlgen.pictures import grid

EVAL_SEED = 10_000  # added to the run's seed: evaluation episodes are never training episodes
ROWS = 128  # vector steps that go to the buffer at once, at most
EVAL_IMAGES = 1_000  # held-out images of an evaluation during training; the last one uses all of them


class Source(Protocol):
    """What the loop and the run directory need of a source."""

    streams: bool  # new data keep coming, so the buffer is part of a checkpoint
    spec: Any

    def fill(self, buffer: Buffer, learner: Any) -> int:
        """Add `learner.collect` rows to the buffer; returns clock ticks: environment steps taken, or images drawn."""

    def metrics(self) -> dict[str, float]:
        """What was seen since the last call."""

    def evaluate(self, learner: Any, final: bool = False) -> dict[str, Any]:
        """Metrics of the learner as it is now, `eval/...`; pictures are uint8 [H, W] or [H, W, C], videos 4-d."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed source needs to go on as if never stopped."""

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Put it back; True if the source goes on exactly where it was."""


class EnvSource:
    """Steps Gymnasium environments with the learner's actions.

    Args:
        env_id: any Gymnasium id, also `module:Env-v0`.
        num_envs: environments stepped together, N.
        vectorization: auto, sync, async or native, as in `make_envs`.
        seed: of the run; evaluation uses its own episodes.
        eval_episodes: greedy episodes of an evaluation.
        device: where observations go.
        video: evaluations record their first episode.
    """

    streams = True

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        vectorization: str,
        seed: int,
        eval_episodes: int,
        device: torch.device,
        video: bool = False,
    ) -> None:
        self.env_id, self.vectorization, self.seed, self.device = env_id, vectorization, seed, device
        self._on_cpu = device.type == "cpu"
        self.eval_episodes, self.video = eval_episodes, video
        self.envs = make_envs(env_id, num_envs, vectorization, seed)
        self.spec: EnvSpec = self.envs.spec
        self._obs = self._upload(self.envs.obs)  # [N, *obs_shape] kept up to date on a GPU
        self._return = np.zeros(num_envs)  # [N] of the episodes under way
        self._begun = np.zeros(num_envs, dtype=np.int64)  # [N] the vector step before their first
        self._chosen: tuple[Batch, Callable[[], np.ndarray]] | None = None  # ahead: what was acted, and its actions
        self._finished: list[tuple[float, int]] = []  # return and length of episodes since the last `metrics`

    def _upload(self, array: np.ndarray) -> Tensor:
        """The array as a tensor where the learner is."""
        tensor = torch.from_numpy(array)
        # The allocator of pinned memory reuses a block only after the copy out of it has ended.
        return tensor if self._on_cpu else tensor.pin_memory().to(self.device, non_blocking=True)

    def _download(self, action: Any) -> Callable[[], np.ndarray]:
        """Begin to copy actions [N, ...] to the host; the result waits for them, and for nothing queued after them."""
        if self._on_cpu:
            return (lambda: action) if type(action) is np.ndarray else action.numpy
        host = torch.empty_like(action, device="cpu", pin_memory=True).copy_(action, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()

        def wait() -> np.ndarray:
            copied.synchronize()
            return host.numpy()

        return wait

    def _choose(self, learner: Agent) -> tuple[Batch, Callable[[], np.ndarray]]:
        obs: Any = self._obs
        if self._on_cpu:
            obs = self.envs.obs if learner.acts_on_arrays else self._upload(self.envs.obs)
        acted = learner.act(obs)
        return acted, self._download(acted["action"])

    @torch.no_grad()
    def fill(self, buffer: Buffer, learner: Agent) -> int:
        """Take `learner.collect` steps in every environment; a junk step of an autoreset ticks no clock.

        On a GPU an agent that may act ahead chooses its next actions before the updates that follow, so that the
        environments step while those run.
        """
        ticks = 0
        rows: list[dict[str, Any]] = []
        for left in reversed(range(learner.collect)):
            obs = self.envs.obs if self._on_cpu else self._obs
            acted, actions = self._chosen or self._choose(learner)
            self._chosen = None
            step = self.envs.step(actions())  # the only wait for the device
            next_obs: Any = step.next_obs
            if not self._on_cpu:  # an observation crosses once; on the CPU the buffer prefers arrays
                self._obs = self._upload(self.envs.obs)
                next_obs = self._obs if next_obs is self.envs.obs else self._upload(next_obs)
            row = {"obs": obs, **acted, "reward": step.reward, "next_obs": next_obs, "valid": step.valid}
            rows.append(row | {"terminated": step.terminated, "truncated": step.truncated})
            if not left or len(rows) == ROWS:
                buffer.add(*rows)
                ticks += self._count(rows)
                rows = []
        if learner.acts_ahead and not self._on_cpu:
            self._chosen = self._choose(learner)
        return ticks

    def _count(self, rows: Sequence[dict[str, Any]]) -> int:
        """Add up returns and lengths of episodes over the last T rows; returns how many transitions are valid."""
        reward, valid = np.array([row["reward"] for row in rows]), np.array([row["valid"] for row in rows])  # [T, N]
        ended = np.array([row["terminated"] for row in rows]) | np.array([row["truncated"] for row in rows])  # [T, N]
        num_valid = int(np.count_nonzero(valid))  # a quarter of the time of `all` or `sum`
        counted = 0  # rows
        if num_valid < valid.size or np.count_nonzero(ended):
            for t in (ended | ~valid).any(1).nonzero()[0].tolist():
                self._return = self._return + reward[counted : t + 1].sum(0, dtype=np.float64)
                counted, now = t + 1, self.envs.num_steps - len(rows) + t + 1
                length = now - self._begun[ended[t]]
                self._finished += zip(self._return[ended[t]].tolist(), length.tolist(), strict=True)
                over = ended[t] | ~valid[t]
                self._return[over], self._begun[over] = 0, now
        self._return = self._return + reward[counted:].sum(0, dtype=np.float64)
        return num_valid

    def metrics(self) -> dict[str, float]:
        """Mean return and length of the training episodes that ended since the last call, if any did."""
        if not self._finished:
            return {}
        returns, lengths = np.array(self._finished).T
        self._finished = []
        return {"charts/episodic_return": float(returns.mean()), "charts/episodic_length": float(lengths.mean())}

    def evaluate(self, learner: Agent, final: bool = False) -> dict[str, Any]:
        """Greedy return over `eval_episodes` fixed episodes, and how far the agent overestimates it."""
        result = self.play(learner, self.eval_episodes, self.seed + EVAL_SEED)
        returns = np.array(result.pop("returns"))
        if self.video:
            result["videos/episode"] = np.stack(self.play(learner, 1, self.seed + EVAL_SEED, render=True)["frames"])
        return {
            "eval/episodic_return": float(returns.mean()),
            "eval/episodic_return_std": float(returns.std()),
        } | result

    @torch.no_grad()
    def play(self, learner: Agent, num_episodes: int, seed: int, render: bool = False) -> dict[str, Any]:
        """Play whole greedy episodes in environments of their own.

        All of the first `num_episodes` are counted, whatever their length, so that short ones are not favoured.

        Args:
            learner: acts greedily.
            num_episodes: how many.
            seed: of the episodes; the same seed plays the same ones.
            render: keep the frames of the first episode.

        Returns:
            `returns`, one a whole episode, undiscounted; `eval/episodic_length`; `frames` uint8 [H, W, 3] of the first
            episode when rendering; and, from agents that estimate values, `eval/q_estimate`, the mean of max_a Q over
            the states visited, beside `eval/q_realised`, the discounted return really obtained from the same states
            (van Hasselt et al. 2016, section 3 and figure 3). States whose return a time limit cut while it still
            weighed more than 1 % (gamma^k > 0.01) are left out of both.
        """
        num_envs = 1 if render else min(num_episodes, 50)
        vectorization = (
            "sync" if self.vectorization == "async" or (render and self.vectorization == "auto") else self.vectorization
        )
        envs = make_envs(self.env_id, num_envs, vectorization, seed, render_mode="rgb_array" if render else None)
        quota = np.full(num_envs, num_episodes // num_envs) + (np.arange(num_envs) < num_episodes % num_envs)  # [N]
        returns: list[float] = []
        lengths: list[int] = []
        frames: list[np.ndarray] = []
        pairs: list[np.ndarray] = []  # [2, k] estimated and realised
        rewards: list[list[float]] = [[] for _ in range(num_envs)]
        estimates: list[list[float]] = [[] for _ in range(num_envs)]
        try:
            while len(returns) < num_episodes:
                if render and not returns:
                    frames.append(envs.render())
                acted = learner.act(self._upload(envs.obs), greedy=True)
                step = envs.step(self._download(acted["action"])())
                ended = step.terminated | step.truncated
                estimate = acted["q_estimate"].tolist() if "q_estimate" in acted else None
                for n in step.valid.nonzero()[0]:
                    rewards[n].append(float(step.reward[n]))
                    if estimate:
                        estimates[n].append(estimate[n])
                    if not ended[n]:
                        continue
                    if quota[n] > 0:
                        quota[n] -= 1
                        returns.append(sum(rewards[n]))
                        lengths.append(len(rewards[n]))
                        if estimate:
                            pairs.append(
                                realised(estimates[n], rewards[n], bool(step.terminated[n]), learner.cfg.gamma)
                            )
                    rewards[n], estimates[n] = [], []
        finally:
            envs.close()
        result: dict[str, Any] = {"returns": returns, "eval/episodic_length": float(np.mean(lengths))}
        if frames:
            result["frames"] = frames
        states = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0))
        if states.size:
            result["eval/q_estimate"], result["eval/q_realised"] = states.mean(axis=1).tolist()
        return result

    def state_dict(self) -> dict[str, Any]:
        """Where every environment stands, and the episodes under way."""
        return {
            "envs": self.envs.state(),
            "return": self._return.tolist(),
            "length": (self.envs.num_steps - self._begun).tolist(),
            "finished": [list(pair) for pair in self._finished],
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Go on where the state was taken; False if the environments cannot, and new episodes begin."""
        exact = self.envs.load_state(state["envs"])
        self._chosen = None
        self._obs = self._upload(self.envs.obs)
        self._finished = [(episode_return, length) for episode_return, length in state["finished"]]
        self._return[:] = state["return"] if exact else 0
        self._begun[:] = self.envs.num_steps - np.array(state["length"] if exact else 0)
        return exact

    def close(self) -> None:
        """Stop the environments."""
        self.envs.close()


def realised(estimates: list[float], rewards: list[float], terminated: bool, gamma: float) -> np.ndarray:
    """Estimated values beside the discounted returns of the same states in one episode: [2, k] for the k that count."""
    total = 0.0
    returns = [total := reward + gamma * total for reward in reversed(rewards)][::-1]
    remaining = np.arange(len(rewards), 0, -1)  # steps until the end
    complete = np.full(len(rewards), terminated) | (gamma**remaining <= 0.01)
    return np.array([estimates, returns])[:, complete]


@dataclass(frozen=True)
class ImageSpec:
    """What a generative model needs to know of its images."""

    shape: tuple[int, int, int]  # [C, H, W]
    num_classes: int | None = None  # where there are labels
    sha256: str = ""  # of all of them


class ImageSource:
    """A data set, resident on the device as uint8; training never touches its held-out images.

    Args:
        data: training and held-out images, uint8 [N, C, H, W].
        device: where they live.
    """

    streams = False

    def __init__(self, data: ImageData, device: torch.device) -> None:
        self.data, self.device = data, device
        self.spec = ImageSpec(data.train.shape[1:], data.num_classes, data.digest())

    def fill(self, buffer: Buffer, learner: Learner) -> int:
        """Put the data set into the buffer, once; every fill ticks the images that the next batch draws."""
        if len(buffer) == 0:
            items = {"image": torch.from_numpy(self.data.train)}
            if self.data.train_label is not None:
                items["label"] = torch.from_numpy(self.data.train_label)
            buffer.add(items)
        return learner.collect

    def metrics(self) -> dict[str, float]:
        """Nothing: a data set does not change."""
        return {}

    def evaluate(self, learner: Generative, final: bool = False) -> dict[str, Any]:
        """Held-out metrics, samples from the same latents every time, and held-out images with reconstructions."""
        images = torch.from_numpy(self.data.test if final else self.data.test[:EVAL_IMAGES])
        samples = learner.sample(64, seed=0).numpy(force=True)
        result = self.score(learner, images) | {"samples/grid": np.asarray(grid(samples))}
        originals = images[:32]
        reconstructed = learner.reconstruct(originals.to(self.device))
        if reconstructed is not None:
            pairs = torch.stack([originals / 255, reconstructed.cpu()], dim=1).flatten(0, 1)  # [2 B, C, H, W]
            result["samples/reconstructions"] = np.asarray(grid(pairs.numpy(), columns=8))
        return result

    def score(self, learner: Generative, images: Tensor, chunk: int = 500) -> dict[str, float]:
        """Mean of the learner's metrics over images [M, C, H, W] uint8, a chunk at a time."""
        totals: dict[str, float] = {}
        for part in images.split(chunk):
            for name, value in learner.evaluate(part.to(self.device)).items():
                totals[name] = totals.get(name, 0.0) + value.item() * len(part)
        return {name: total / len(images) for name, total in totals.items()}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save: the data set is refilled from its files."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Nothing to load."""
        return True

    def close(self) -> None:
        """Nothing to stop."""
