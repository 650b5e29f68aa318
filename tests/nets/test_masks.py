"""Actions that are not valid are neither taken nor valued, and nothing of that is NaN."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from specs import spec_of, stored

from agents import dqn, ppo, reinforce
from rlgen.nets.masks import LOWEST, Masked
from rlgen.nets.networks import network
from rlgen.nets.policies import Categorical, actor, epsilon_greedy

NUMBERS = Box(-1, 1, (3,), np.float32)
PICTURE = Box(0, 255, (5, 5, 1), np.uint8)
BOTH = Dict(picture=PICTURE, numbers=NUMBERS)
MASKS = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], bool)  # the last one is of an episode's end
VALID = torch.from_numpy(np.where(MASKS.any(1, keepdims=True), MASKS, True))


def seen(space, seed=0):
    """A spec with four actions and a mask, and four observations as they are stored."""
    spec = spec_of(space, num_actions=4, masks=True)
    space.seed(seed)
    return spec, stored(spec, space, [space.sample() for _ in MASKS], list(MASKS))


@pytest.mark.parametrize("space", [NUMBERS, PICTURE, BOTH], ids=["numbers", "picture", "both"])
def test_outputs_of_actions_that_are_not_valid_are_the_lowest(space):
    spec, obs = seen(space)
    torch.manual_seed(0)
    net = network(spec, (8, 8), 4, per_action=True)
    assert isinstance(net, Masked)
    raw, out = net.net(torch.from_numpy(obs)), net(torch.from_numpy(obs))
    assert torch.equal(out, torch.where(VALID, raw, LOWEST)) and out.isfinite().all()
    with torch.no_grad():
        of_array = net(obs)
    assert isinstance(of_array, np.ndarray) == (space is NUMBERS), "of numbers alone, as an MLP answers it"
    assert np.allclose(of_array, out.detach(), atol=1e-6)
    assert not isinstance(network(spec, (8, 8), 1), Masked), "a critic's one output is of no action"
    assert not isinstance(network(spec_of(space, 4), (8, 8), 4, per_action=True), Masked)


@pytest.mark.parametrize("space", [NUMBERS, PICTURE, BOTH], ids=["numbers", "picture", "both"])
def test_an_array_goes_through_the_network_once(space):
    spec, obs = seen(space)
    net, calls = network(spec, (8, 8), 4, per_action=True), []
    layer = [module for module in net.modules() if not [*module.children()]][-1]
    layer.register_forward_hook(lambda *_: calls.append(1))
    net(obs)
    assert len(calls) == (0 if space is NUMBERS else 1), "an MLP answers by arrays"


@pytest.mark.parametrize("space", [NUMBERS, BOTH], ids=["numbers", "both"])
def test_a_masked_policy_is_torchs_of_masked_logits(space):
    spec, obs = seen(space)
    torch.manual_seed(0)
    net, distribution = actor(spec, (8,))
    policy = distribution(net(torch.from_numpy(obs)))
    truth = torch.distributions.Categorical(logits=net.net(torch.from_numpy(obs)).masked_fill(~VALID, -torch.inf))
    action = torch.tensor([2, 3, 0, 1])
    assert torch.allclose(policy.log_prob(action), truth.log_prob(action), atol=1e-6)
    assert torch.allclose(policy.entropy(), truth.entropy(), atol=1e-6) and policy.entropy()[1] == 0
    assert torch.equal(policy.mode(), truth.probs.argmax(-1))
    (policy.log_prob(action) + policy.entropy()).sum().backward()
    assert all(param.grad.isfinite().all() for param in net.parameters())
    generator = torch.Generator().manual_seed(0)
    for logits in (policy.logits.detach(), policy.logits.detach().numpy()):
        drawn = np.array([np.asarray(Categorical(logits).sample(generator)) for _ in range(200)])
        assert {tuple(pair) for pair in np.argwhere(VALID.numpy())} == {(i, a) for i in range(4) for a in drawn[:, i]}


def test_a_masked_policy_of_several_choices_is_torchs_of_each():
    masks = [np.array([[1, 0], [0, 1]], bool), np.array([[1, 1], [1, 0]], bool), np.array([[0, 1, 1], [1, 1, 1]], bool)]
    spec = spec_of(NUMBERS, masks=True, num_choices=(2, 2, 3))
    obs = torch.from_numpy(stored(spec, NUMBERS, [NUMBERS.sample(), NUMBERS.sample()], list(np.concatenate(masks, 1))))
    torch.manual_seed(0)
    net, distribution = actor(spec, (8,))
    policy, raw = distribution(net(obs)), net.net(obs).split([2, 2, 3], -1)
    truths = [
        torch.distributions.Categorical(logits=logits.masked_fill(~torch.from_numpy(mask), -torch.inf))
        for logits, mask in zip(raw, masks, strict=True)
    ]
    action = torch.tensor([[0, 1, 2], [1, 0, 0]])
    truth = sum(each.log_prob(chosen) for each, chosen in zip(truths, action.T, strict=True))
    assert torch.allclose(policy.log_prob(action), truth, atol=1e-6)
    assert torch.allclose(policy.entropy(), sum(each.entropy() for each in truths), atol=1e-6)
    (policy.log_prob(action) + policy.entropy()).sum().backward()
    assert all(param.grad.isfinite().all() for param in net.parameters())
    generator = torch.Generator().manual_seed(0)
    for out in (net(obs).detach(), net(obs).detach().numpy()):
        drawn = np.array([np.asarray(distribution(out).sample(generator)) for _ in range(100)])  # [100, B, K]
        for place, mask in enumerate(masks):
            taken = {(i, int(choice)) for i in range(2) for choice in drawn[:, i, place]}
            assert taken == {tuple(pair) for pair in np.argwhere(mask).tolist()}


def config(module, **more):
    return module.Config(hidden=(8,), **more)


def learner_of(kind, module, spec, **more):
    torch.manual_seed(0)
    return kind(config(module, **more), spec)


@pytest.mark.parametrize("double", [False, True])
def test_the_target_of_dqn_is_of_valid_next_actions(double):
    """By hand: the last transition terminated, in a state in which no action is valid."""
    spec, obs = seen(BOTH)
    _, next_obs = seen(BOTH, seed=5)
    agent = learner_of(dqn.DQN, dqn, spec, double=double)
    with torch.no_grad():
        for param in agent.target_q.parameters():
            param.add_(0.3 * torch.randn_like(param))
    reward, discount = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.9, 0.9, 0.9, 0.0])
    batch = {"obs": torch.from_numpy(obs), "next_obs": torch.from_numpy(next_obs), "action": torch.tensor([0, 3, 1, 2])}
    raw, online = (net.net(batch["next_obs"]).detach().numpy() for net in (agent.target_q, agent.q))
    target = []
    for i, valid in enumerate(VALID.numpy()):
        choices = [action for action in range(4) if valid[action]]
        best = max(choices, key=lambda action: (online if double else raw)[i, action])
        target.append(reward[i] + discount[i] * raw[i, best])
    q_value = agent.q.net(batch["obs"]).detach()[torch.arange(4), batch["action"]]
    expected = torch.nn.functional.huber_loss(q_value, torch.tensor(target))
    loss, _ = agent.loss(agent, batch | {"reward": reward, "discount": discount})
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    grads = torch.autograd.grad(loss, list(agent.q.parameters()))
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize(("kind", "module"), [(ppo.PPO, ppo), (reinforce.Reinforce, reinforce), (dqn.DQN, dqn)])
@pytest.mark.parametrize("space", [NUMBERS, PICTURE], ids=["numbers", "picture"])
def test_agents_take_valid_actions_alone_however_they_act(kind, module, space):
    spec, obs = seen(space)
    agent = learner_of(kind, module, spec)
    taken = {(greedy, form): set() for greedy in (False, True) for form in ("array", "tensor")}
    for greedy, form in taken:
        for _ in range(100):
            action = agent.act(obs if form == "array" else torch.from_numpy(obs), greedy=greedy)["action"]
            taken[greedy, form] |= {(i, int(a)) for i, a in enumerate(action)}
    valid = {tuple(pair) for pair in np.argwhere(VALID.numpy()).tolist()}
    assert set.union(*taken.values()) <= valid
    assert taken[False, "array"] == taken[False, "tensor"] == valid, "every one of them now and then"
    if kind is dqn.DQN:
        assert torch.as_tensor(agent.act(obs, greedy=True)["q_estimate"]).abs().max() < 100


def test_random_actions_of_an_unmasked_network_are_those_of_before():
    values = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32)
    explore, choice = torch.rand(2, 500, generator=torch.Generator().manual_seed(1)).numpy()
    before = np.where(explore < 0.7, (choice * 5).astype(np.int64), values.argmax(-1))
    assert np.array_equal(epsilon_greedy(values, 0.7, torch.Generator().manual_seed(1)), before)


def test_random_actions_are_drawn_evenly_among_the_valid_ones():
    values = np.where(np.tile(MASKS[0], (6000, 1)), np.float32(1), np.float32(LOWEST))
    counts = np.bincount(epsilon_greedy(values, 1.0, torch.Generator().manual_seed(0)), minlength=4)
    assert counts[[1, 3]].tolist() == [0, 0] and abs(counts[0] - 3000) < 200
