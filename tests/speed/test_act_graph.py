"""Acts as a CUDA graph, which is simulated here: see `fake_graph`. Those marked `gpu` are real ones."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fake_graph import FakeGraph
from gymnasium import spaces
from specs import spec_of
from torch import Tensor, nn

from agents import btr, dqn, iqn, ppo, pqn, reinforce
from rlgen.core.learner import Agent, read_by_act
from rlgen.core.normalization import normalized
from rlgen.envs.spec import EnvSpec
from rlgen.nets.policies import epsilon_greedy_in_few_kernels
from rlgen.speed import act_graph
from rlgen.speed.act_graph import WARM_UP, Acts
from rlgen.speed.recorded import Recorded

NUM_ENVS = 8


class Pure(Agent):
    """Noisy numbers, scaled by one that it declares."""

    act_reads = ("scale",)

    def __init__(self, **more: Any) -> None:
        super().__init__(SimpleNamespace())
        self.net, self.scale, self.calls = nn.Linear(3, 2), 1.0, 0
        self.executor = Recorded()
        for name, value in more.items():
            setattr(self, name, value)

    def act(self, obs: Any, greedy: bool = False) -> dict[str, Tensor]:
        self.calls += 1
        noise = torch.randn(len(obs), 2, generator=self.generator, device=self.device)
        return {"action": self.net(obs) + self.scale * noise}


class Waiting(Pure):
    """Reads a number on the host."""

    act_reads = ()

    def act(self, obs: Any, greedy: bool = False) -> dict[str, Tensor]:
        return {"action": self.net(obs) * obs.sum().item()}


class Forgetful(Pure):
    """Reads more than it declares."""

    act_reads = ()


class Counting(Pure):
    """Does something else at every call."""

    act_reads = ()

    def act(self, obs: Any, greedy: bool = False) -> dict[str, Tensor]:
        if self.calls == WARM_UP + 2:  # not while it is captured, but in the eager act beside it
            torch.randn(3, generator=self.generator, device=self.device)
        return super().act(obs)


class Undeclared(Pure):
    """Its own act may read anything."""

    def act(self, obs: Any, greedy: bool = False) -> dict[str, Tensor]:
        return super().act(obs)


class Talkative(Pure):
    """Returns more than actions."""

    act_reads = ("scale",)

    def act(self, obs: Any, greedy: bool = False) -> dict[str, Tensor]:
        return super().act(obs) | {"more": self.net(obs)}


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture
def device() -> str:
    """Where agents are, of a test that is not of several devices."""
    return "cpu"


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch, device: str) -> Acts:
    """Of an agent on the device: the graph is real on a real one."""
    if device == "cuda":
        return Acts()
    monkeypatch.setattr(act_graph, "pinned", lambda num_bytes: torch.zeros(num_bytes, dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "Event", lambda: SimpleNamespace(record=int, synchronize=int))
    few_kernels = lambda q_value, epsilon, uniforms: epsilon_greedy_in_few_kernels(q_value, epsilon, uniforms.generator)  # noqa: E731
    for module in ("dqn", "pqn"):
        monkeypatch.setattr(f"agents.{module}.epsilon_greedy", few_kernels)  # as on a GPU
    return Acts(FakeGraph)


def pair(make: Callable[[], Agent]) -> tuple[Agent, Agent]:
    """Two of the same agent."""
    agents = []
    for _ in range(2):
        torch.manual_seed(3)
        agents.append(make())
    return agents[0], agents[1]


def observed(seed: int, spec: EnvSpec | None = None) -> np.ndarray:
    """Observations of some environments."""
    rng = np.random.default_rng(seed)
    if spec is not None and spec.obs_dtype == "uint8":
        return rng.integers(0, 256, (NUM_ENVS, *spec.obs_shape), dtype=np.uint8)
    return rng.normal(size=(NUM_ENVS, *(spec.obs_shape if spec else (3,)))).astype(np.float32)


@torch.no_grad()
def compare(acts: Acts, agent: Agent, other: Agent, num: int, change: Any = None, spec: EnvSpec | None = None) -> None:
    """Act with a graph where there is one, and eagerly; actions and random numbers must be equal, bit for bit."""
    for i in range(num):
        for each in (agent, other):
            if change:
                change(each, i)
        obs = observed(i, spec)
        wait = acts(agent, obs)
        there = torch.from_numpy(obs).to(agent.device)
        action = agent.act(there)["action"].numpy(force=True) if wait is None else wait()
        kept = action.copy()
        expected = other.act(there)["action"].numpy(force=True)
        assert action.dtype == expected.dtype and np.array_equal(action, expected), f"act {i}"
        assert torch.equal(agent.generator.get_state(), other.generator.get_state()), f"act {i}"
        if wait is not None and i % 3 == 0:
            assert np.array_equal(kept, action)


def test_acts_with_a_graph_are_the_eager_ones(acts: Acts) -> None:
    def change(agent: Any, i: int) -> None:
        agent.scale = 0.1 * i
        agent.net.weight += 0.01

    agent, other = pair(Pure)
    compare(acts, agent, other, 40, change)
    assert acts.graph and not acts.refused
    assert acts.graph.count == 40 - WARM_UP
    assert agent.calls < 20, "a replay runs no Python of the agent"  # type: ignore[attr-defined]


def test_actions_stay_what_they_are_when_the_next_ones_come(acts: Acts) -> None:
    agent = Pure()
    given = [act(acts, agent, i) for i in range(10)]
    assert len({each.tobytes() for each in given if each is not None}) == 10 - WARM_UP


def act(acts: Acts, agent: Agent, seed: int) -> np.ndarray | None:
    """Act once; None if it is to be done eagerly."""
    with torch.no_grad():
        wait = acts(agent, observed(seed))
        return None if wait is None else wait()


@pytest.mark.parametrize(
    ("make", "why"),
    [(Waiting, "waits for the device"), (Counting, "other random numbers"), (Talkative, "action, more")],
)
def test_what_cannot_be_recorded_is_done_eagerly_for_ever_and_a_line_says_why(
    acts: Acts, make: Any, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (agent, _), (_, other) = pair(make), pair(Pure if make is Counting else make)
    compare(acts, agent, other, 20)
    assert why in acts.refused and acts.graph is None
    assert capsys.readouterr().err.count("note: acting is slower") == 1


def test_what_was_not_declared_is_found_out(acts: Acts, capsys: pytest.CaptureFixture[str]) -> None:
    agent = Forgetful()
    given = [act(acts, agent, i) for i in range(8)]
    agent.scale = 2.0
    given = [act(acts, agent, i) for i in range(8)]
    assert given[-1] is None and "act_reads" in acts.refused
    assert capsys.readouterr().err.count("note: acting is slower") == 1


def test_agents_that_declare_nothing_or_are_to_be_eager_are_left_alone(
    acts: Acts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_by_act(Pure) == ("scale",) and read_by_act(Agent) is None
    assert read_by_act(Undeclared) is None, "a class with an act of its own declares it anew"
    assert read_by_act(normalized(dqn.DQN, True, True)) == ("epsilon",)
    eager = Pure()
    eager.executor = Agent.executor
    for agent in (Undeclared(), eager):
        assert all(act(acts, agent, i) is None for i in range(8))
    assert not acts.refused and not capsys.readouterr().err


def test_a_graph_whose_tensors_lie_elsewhere_by_now_is_made_again(acts: Acts) -> None:
    agent, other = pair(Pure)
    compare(acts, agent, other, 8)
    first = acts.graph
    for each in (agent, other):
        each.net.weight.data = each.net.weight.data.clone() + 1  # type: ignore[union-attr, operator]
    compare(acts, agent, other, 8)
    assert acts.graph is not first and not acts.refused
    agent, other = pair(Pure)
    compare(acts, agent, other, 8)
    assert acts.graph is not None and not acts.refused, "another agent"


def test_observations_of_several_parts_go_in_one_copy(acts: Acts) -> None:
    class Parts(Pure):
        act_reads = ()

        def act(self, obs: Any, greedy: bool = False) -> dict[str, Tensor]:
            return {"action": obs["one"].sum(-1) + obs["other"].float().sum(-1)}

    agent = Parts()
    for i in range(10):
        obs = {"one": observed(i), "other": np.full((NUM_ENVS, 5), i, np.uint8)}
        wait = acts(agent, obs)
        assert wait is None or np.allclose(wait(), obs["one"].sum(-1) + 5.0 * i)
    assert acts.graph and not acts.refused


BOX = spaces.Box(-1.0, 1.0, (5,), np.float32)
SPECS = {
    "discrete": spec_of(BOX, num_actions=3),
    "choices": spec_of(BOX, num_choices=(2, 3, 3)),
    "real": replace(spec_of(BOX), num_actions=None, action_shape=(2,), action_low=(-1.0,) * 2, action_high=(1.0,) * 2),
    "pictures": spec_of(spaces.Box(0, 255, (40, 40, 3), np.uint8), num_actions=4),
}


def build(algorithm: type[Agent], spec: EnvSpec, device: str, normalize: bool, **options: Any) -> Agent:
    """An agent of default options."""
    torch.manual_seed(1)
    kind = normalized(algorithm, obs=True, reward=True) if normalize else algorithm
    with torch.device(device):
        agent = kind(algorithm.Config(hidden=(16, 16), **options), replace(spec, num_envs=NUM_ENVS))
    agent.executor = Recorded()
    return agent


def learned(agent: Any, i: int) -> None:
    """What a learner's update may change between two acts, all of it in place."""
    agent.num_updates, agent.progress = i, min(1.0, i / 90)
    with torch.no_grad():
        for param in agent.parameters():
            param.mul_(1.01)
        if hasattr(agent, "normalizer") and agent.normalizer.obs:
            agent.normalizer.obs.add(torch.full((3, *agent.normalizer.obs.mean.shape), float(i), device=agent.device))
            agent.normalizer.refresh()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("algorithm", "kind", "normalize"),
    [
        (dqn.DQN, "discrete", False),
        (dqn.DQN, "discrete", True),
        (dqn.DQN, "pictures", False),
        (iqn.IQN, "pictures", False),
        (btr.BTR, "pictures", False),
        (pqn.PQN, "discrete", True),
        (ppo.PPO, "discrete", True),
        (ppo.PPO, "choices", False),
        (ppo.PPO, "real", True),
        (ppo.PPO, "pictures", False),
        (reinforce.Reinforce, "real", False),
    ],
)
def test_every_agent_acts_with_a_graph_as_it_does_without(
    acts: Acts, algorithm: type[Agent], kind: str, normalize: bool, device: str
) -> None:
    spec = SPECS[kind]
    agent, other = (build(algorithm, spec, device, normalize) for _ in range(2))
    compare(acts, agent, other, 100 if device == "cuda" else 30, learned, spec)
    assert acts.graph and not acts.refused
    if algorithm is dqn.DQN:
        assert agent.epsilon == pytest.approx(0.05) or device == "cpu", "it went all the way"  # type: ignore[attr-defined]


def test_actions_that_are_choices_are_equal_or_they_differ() -> None:
    """Of a thousand choices the next one is within a thousandth."""
    assert not act_graph.alike(np.array([1000]), np.array([1001]))
    assert act_graph.alike(np.array([1000]), np.array([1000]))
    assert act_graph.alike(np.array([1000.0]), np.array([1000.1]))
