"""The bonus for novel observations against its formula, and a corridor that chance alone does not walk through."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from specs import spec_of
from tiny import assert_resumed_equal, comparable, tiny

from agents import dqn, ppo
from rlgen import experiment
from rlgen.core.novelty import Novelty, explore, with_bonus
from rlgen.runs.rows import read_metrics

SPEC = spec_of(Box(-9, 9, (3,), np.float32))
CORRIDOR = '''
import gymnasium as gym
import numpy as np


class Corridor(gym.Env):
    """The reward is at the far end, each step there costs a little; the action that goes there differs by the cell."""

    observation_space = gym.spaces.Box(0, 1, (16,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def _obs(self):
        return np.eye(16, dtype=np.float32)[self.at]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.steps = 0, 0
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        forward = action == self.at * 7 % 3 % 2
        self.at = max(0, self.at + (1 if forward else -1))
        over = self.at == 15
        return self._obs(), over - 0.01 * forward, over, self.steps >= 22, {}
'''


@pytest.fixture
def novelty() -> Novelty:
    torch.manual_seed(0)
    return Novelty(SPEC)


def observations(num: int, seed: int = 0, size: float = 3.0) -> torch.Tensor:
    return torch.randn(num, 3, generator=torch.Generator().manual_seed(seed)) * size + 1


def test_the_bonus_is_the_error_on_whitened_observations_over_its_deviation(novelty: Novelty) -> None:
    first, second = observations(40), observations(25, seed=1, size=20.0)
    novelty.bonus(first)
    found = novelty.bonus(second)

    seen = torch.cat([first, second]).double().numpy()
    errors = []
    for upto, rows in ((40, first), (65, second)):
        white = (rows.double().numpy() - seen[:upto].mean(0)) / seen[:upto].std(0)
        white = torch.from_numpy(white.clip(-5, 5)).float()
        difference = (novelty.predictor(white) - novelty.target(white)).detach().double().numpy()
        errors.append((difference**2).mean(1))
    assert (np.abs((seen - seen.mean(0)) / seen.std(0)) > 5).any() or np.abs(seen).max() > 40
    assert found.numpy() == pytest.approx(errors[1] / np.concatenate(errors).std(), rel=1e-3)


def test_errors_that_do_not_differ_have_no_huge_bonus(novelty: Novelty) -> None:
    """As those of the first batch of an environment whose first observation is always the same."""
    assert novelty.bonus(torch.ones(8, 3)).tolist() == [0.0] * 8, "whitened they are 0, of which both say 0"
    with torch.no_grad():
        [*novelty.predictor.parameters()][-1].fill_(0.3)  # the last bias
    again = Novelty(SPEC)
    again.load_state_dict(novelty.state_dict())
    again.errors = type(novelty.errors)(())
    assert again.bonus(torch.ones(8, 3)).tolist() == pytest.approx([10.0] * 8)


def test_far_observations_are_clipped(novelty: Novelty) -> None:
    novelty.bonus(observations(40))
    far, farther = novelty(torch.full((1, 3), 1e3)), novelty(torch.full((1, 3), 1e6))
    assert torch.equal(far, farther)


def test_the_bonus_is_added_to_the_reward_by_its_weight(novelty: Novelty) -> None:
    reward, obs = torch.arange(6.0), observations(6)
    alone = Novelty(SPEC)
    alone.load_state_dict(novelty.state_dict())
    found = with_bonus(novelty, {"reward": reward, "next_obs": obs, "action": reward}, 0.25)
    assert torch.allclose(found["reward"], reward + 0.25 * alone.bonus(obs)) and found["action"] is reward


def test_of_a_rollout_what_is_not_valid_is_not_counted(novelty: Novelty) -> None:
    obs = observations(6).view(3, 2, 3)
    valid = torch.tensor([[True, True], [False, True], [True, False]])
    with_bonus(novelty, {"reward": torch.zeros(3, 2), "next_obs": obs, "valid": valid}, 1.0)
    assert novelty.errors.count == 4 and torch.allclose(novelty.mean, obs[valid].mean(0), atol=1e-5)


@pytest.mark.parametrize("module", [dqn, ppo])
def test_what_was_seen_often_is_no_longer_novel_and_the_target_stays(module: Any) -> None:
    torch.manual_seed(0)
    (kind,) = (each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
               and isinstance(each, type) and issubclass(each, torch.nn.Module))  # fmt: skip
    agent = kind(module.Config(rnd=1.0, rnd_lr=1e-3), SPEC)
    often, never = observations(32), observations(32, seed=7)
    target = [param.clone() for param in agent.novelty.target.parameters()]
    for _ in range(300):
        explore(agent, {"reward": torch.zeros(32), "next_obs": often})
    assert agent.novelty(never).mean() > 5 * agent.novelty(often).mean()
    assert all(torch.equal(one, other) for one, other in zip(target, agent.novelty.target.parameters(), strict=True))


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_a_resumed_run_finds_novel_what_it_would_have_found_so(algo: str, tmp_path: Path) -> None:
    config = tiny(algo, tmp_path, name="whole", steps=400, keep=100, checkpoint_every=100, rnd=0.5)
    whole = experiment.start(config, quiet=True)
    assert any("losses/novelty" in row for row in comparable(whole.path))
    assert not any("eval/q_estimate" in row for row in comparable(whole.path))
    assert_resumed_equal(whole, 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "options"),
    [
        (
            "dqn",
            {"steps": 30_000, "train_every": 2, "n_step": 3, "anneal_lr": False, "epsilon_end": 0.1, "rnd_lr": 1e-5},
        ),
        ("ppo", {"steps": 60_000, "num_envs": 8, "rollout_steps": 1024, "entropy_coef": 0.01}),
    ],
)
def test_a_corridor_that_chance_does_not_walk_through(
    algo: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chance walks to its end in one of 2 ** 15 episodes, and learns before that to save the costs of the way."""
    (tmp_path / "corridor.py").write_text(CORRIDOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    best: dict[float, list[float]] = {0.0: [], 0.1: []}
    for rnd, found in best.items():
        for seed in (300, 301):
            run = experiment.train(
                algo, env="corridor:Corridor", rnd=rnd, seed=seed, name=f"{rnd:g}-{seed}", quiet=True, threads=1,
                runs_dir=str(tmp_path), wandb="disabled", hidden=(64,), **options,
            )  # fmt: skip
            found.append(max(row.get("charts/episodic_return", -1) for row in read_metrics(run.path)))
    assert max(best[0.0]) <= 0 and min(best[0.1]) > 0.2, best
