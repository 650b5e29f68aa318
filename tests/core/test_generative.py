"""Problems with known answers for the generative models."""

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from generative import gan, vae
from rlgen.core.learner import Generative
from rlgen.data.images import ImageSpec
from rlgen.errors import UsageError


def make(module: Any, shape: tuple[int, int, int], seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    (learner,) = (value for value in vars(module).values() if hasattr(value, "Config") and value is not Generative)
    return learner(module.Config(**options), ImageSpec(shape))


def train(learner: Generative, images: Tensor, num_updates: int) -> None:
    buffer = learner.make_buffer()
    buffer.add({"image": images})
    for i in range(num_updates):
        learner.progress = i / num_updates
        for batch in learner.batches(buffer):
            learner.learn(batch)


def params_of(*nets: nn.Module) -> list[Tensor]:
    return [param.detach().clone() for net in nets for param in net.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# VAE


def test_nll_of_independent_pixels_reaches_their_entropy():
    grey = torch.tensor([20, 60, 100, 128, 150, 200, 230, 250, 255], dtype=torch.uint8).view(1, 1, 3, 3)
    p = grey.double() / 255
    entropy = -(p.xlogy(p) + (1 - p).xlogy(1 - p)).sum().item()
    learner = make(vae, (1, 3, 3), hidden=(16,), latent=2, batch_size=64, lr=1e-2, nll_samples=10)
    train(learner, grey.expand(10, -1, -1, -1), 600)
    metrics = learner.evaluate(grey.expand(10_000, -1, -1, -1))
    assert metrics["eval/nll"] == pytest.approx(entropy, abs=0.05)
    assert metrics["eval/elbo"] == pytest.approx(-entropy, abs=0.05)
    assert metrics["eval/kl"] < 0.03, "there is nothing for a latent to say"
    mean = learner.sample(2000, seed=1).mean(0)
    assert torch.allclose(mean, p[0].float(), atol=0.03)


def test_elbo_bounds_the_likelihood_and_importance_samples_reach_it():
    """With one latent, p(image) is an integral over a line that can be taken exactly."""
    learner = make(vae, (1, 4, 4), hidden=(8,), latent=1)
    with torch.no_grad():
        learner.decoder[-1].weight.mul_(6)  # images that depend on the latent
        image = learner.decoder(torch.randn(64, 1)).sigmoid().bernoulli()  # [B, D]
        z = torch.linspace(-8, 8, 4001)[:, None]
        log_joint = (
            vae.log_likelihood(learner.decoder(z)[:, None].expand(-1, 64, -1), image)
            - z.square() / 2
            - math.log(2 * math.pi) / 2
        )
        log_p = (log_joint.logsumexp(0) + math.log(16 / 4000)).mean().item()
    generator = torch.Generator().manual_seed(0)
    bound = [-learner.nll(image.repeat(2000 // k + 1, 1), k, generator).item() for k in (1, 5, 50)]
    noise = torch.randn(64 * 2000, 1, generator=generator)
    elbo = learner.loss(learner, {"image": image.repeat(2000, 1), "noise": noise})[1]["losses/elbo"].item()
    assert bound[0] == pytest.approx(elbo, abs=0.1), "one sample: the ELBO"
    assert bound[0] + 0.1 < bound[1] < bound[2] < log_p
    assert -learner.nll(image, 5000, generator).item() == pytest.approx(log_p, abs=0.05)


def test_nll_does_not_depend_on_the_chunk(monkeypatch):
    learner = make(vae, (1, 4, 4), hidden=(8,), latent=2)
    image = torch.rand(8, 16).round()
    values = []
    for chunk in (1, 3, 8, 100):
        monkeypatch.setattr(vae, "CHUNK", chunk)
        values.append(learner.nll(image, 60, torch.Generator().manual_seed(0)).item())
    assert values == pytest.approx([values[0]] * 4, abs=1e-4)


def test_kl_is_that_of_torch_distributions():
    mean, log_var = torch.randn(5, 3), torch.randn(5, 3)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (log_var / 2).exp()), normal(0, 1)).sum(-1)
    assert torch.allclose(vae.kl_to_standard_normal(mean, log_var), expected, atol=1e-5)


def test_binary_pixels_have_the_grey_values_as_means():
    grey = torch.tensor([0, 1, 64, 128, 254, 255], dtype=torch.uint8)
    image = vae.binarise(grey.view(1, 1, 1, 6).expand(100_000, -1, -1, -1), torch.Generator().manual_seed(0))
    assert set(image.unique().tolist()) == {0.0, 1.0}
    mean = image.mean(0)
    assert mean[0] == 0 and mean[5] == 1
    assert torch.allclose(mean, grey / 255, atol=0.006)


def test_log_likelihood_of_hopeless_logits_is_finite():
    logits = torch.tensor([[1e4, -1e4]])
    assert vae.log_likelihood(logits, torch.tensor([[0.0, 0.0]])).item() == -1e4


def test_vae_metrics_add_up():
    learner = make(vae, (3, 8, 8), hidden=(8, 8), latent=3, nll_samples=2)
    metrics = learner.learn({"image": torch.randint(256, (16, 3, 8, 8), dtype=torch.uint8)})
    assert metrics["losses/elbo"] == pytest.approx(-(metrics["losses/kl"] + metrics["losses/distortion"]).item())
    assert metrics["losses/distortion"] == pytest.approx(192 * math.log(2), rel=0.1), "a sum over pixels, in nats"
    assert learner.reconstruct(torch.zeros(5, 3, 8, 8, dtype=torch.uint8)).shape == (5, 3, 8, 8)


# both


@pytest.mark.parametrize("module", [vae, gan])
def test_evaluation_repeats_and_leaves_the_training_alone(module):
    learner = make(module, (1, 8, 8))
    images = torch.randint(256, (10, 1, 8, 8), dtype=torch.uint8)
    before = learner.generator.get_state()
    first, second = learner.evaluate(images), learner.evaluate(images)
    assert first == second and all(value.ndim == 0 for value in first.values())
    assert torch.equal(learner.sample(4, seed=5), learner.sample(4, seed=5))
    assert not torch.equal(learner.sample(4, seed=5), learner.sample(4, seed=6))
    assert torch.equal(before, learner.generator.get_state())


@pytest.mark.parametrize("module", [vae, gan])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 30, 45), (1, 9, 13), (2, 5, 6)])
def test_images_of_any_size(module, shape):
    learner = make(module, shape, batch_size=4)
    metrics = learner.learn({"image": torch.randint(256, (4, *shape), dtype=torch.uint8)})
    assert all(torch.isfinite(value) for value in metrics.values())
    sample = learner.sample(3, seed=0)
    assert sample.shape == (3, *shape) and sample.dtype == torch.float32
    assert sample.min() >= 0 and sample.max() <= 1


@pytest.mark.parametrize("name", ["loss", "d_loss", "g_loss"])
def test_losses_compose_with_vmap_over_seeds(name):
    """Gradients of stacked seeds are those of each seed alone, the penalty's inner gradient included."""
    module = vae if name == "loss" else gan
    learners = [make(module, (1, 8, 8), seed, latent=4) for seed in range(3)]
    loss = getattr(learners[0], name)
    net_names = ["encoder", "decoder"] if module is vae else ["g", "d"]
    torch.manual_seed(9)
    image, noise = torch.rand(3, 5, 1, 8, 8), torch.randn(3, 5, 4)
    batch = {"image": image.flatten(2).round(), "noise": noise} if module is vae else {"real": image, "latent": noise}
    stacked = {net: stack_module_state([getattr(learner, net) for learner in learners])[0] for net in net_names}

    def value(params, batch):
        def bound(net):
            return lambda x, label=None: functional_call(getattr(learners[0], net), params[net], (x,))

        return loss(SimpleNamespace(**{net: bound(net) for net in net_names}), batch)[0]

    grads = vmap(torch.func.grad(value))(stacked, batch)
    moves = {"loss": net_names, "d_loss": ["d"], "g_loss": ["g"]}[name]
    for i, learner in enumerate(learners):
        alone = loss(learner, {key: tensor[i] for key, tensor in batch.items()})[0]
        for net in moves:
            expected = torch.autograd.grad(alone, list(getattr(learner, net).parameters()), retain_graph=True)
            for got, want in zip(grads[net].values(), expected, strict=True):
                assert torch.allclose(got[i], want, atol=1e-4, rtol=1e-3)


# GAN


def test_gan_learns_both_of_two_images():
    images = torch.full((2, 1, 8, 8), 40, dtype=torch.uint8)
    images[0, :, :, 4:] = 210
    images[1, :, 4:, :] = 210
    learner = make(gan, (1, 8, 8), width=8, num_hidden=64, latent=8, batch_size=32, ema_half_life=2000)
    train(learner, images, 600)
    sample = learner.sample(200, seed=0)  # [B, 1, 8, 8]
    distance = (sample[:, None] - images / 255).abs().mean((2, 3, 4))  # [B, 2]
    assert (distance.min(0).values < 0.08).all(), "each image is drawn; the mean of both is 0.17 away from either"
    assert 0.25 < (distance.argmin(1) == 0).float().mean() < 0.75, "about as often as the other"
    assert torch.allclose(sample.mean(0), (images / 255).mean(0), atol=0.1)


def test_each_player_moves_alone():
    learner = make(gan, (1, 8, 8))
    batch = {"real": torch.rand(4, 1, 8, 8), "latent": torch.randn(4, learner.cfg.latent)}
    g, d = params_of(learner.g), params_of(learner.d)
    learner.minimize(learner.g_loss, batch, learner.g_optimizer)
    assert same(d, params_of(learner.d)) and not same(g, params_of(learner.g))
    g = params_of(learner.g)
    learner.minimize(learner.d_loss, batch, learner.d_optimizer)
    assert same(g, params_of(learner.g)) and not same(d, params_of(learner.d))


def test_players_get_latents_of_their_own(monkeypatch):
    learner = make(gan, (1, 8, 8))
    seen = []
    latent = learner.latents
    monkeypatch.setattr(learner, "latents", lambda *args: seen.append(latent(*args)) or seen[-1])
    for _ in range(2):
        learner.learn({"image": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)})
    assert len(seen) == 4
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_r1_is_the_mean_over_images_of_the_squared_gradient_summed_over_pixels():
    learner = make(gan, (3, 9, 10), r1_gamma=7.0)
    batch = {"real": torch.rand(5, 3, 9, 10), "latent": torch.randn(5, learner.cfg.latent)}
    total, metrics = learner.d_loss(learner, batch)
    expected = []
    for image in batch["real"]:
        image = image[None].requires_grad_()
        expected.append(torch.autograd.grad(learner.d(image).sum(), image)[0].square().sum())
    assert metrics["losses/r1"].item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)
    assert (total - metrics["losses/d_loss"]).item() == pytest.approx(3.5 * metrics["losses/r1"].item(), rel=1e-3)


def test_r1_of_a_linear_discriminator_is_its_squared_weight():
    learner = make(gan, (1, 8, 8))
    weight = torch.randn(64, requires_grad=True)
    nets = SimpleNamespace(d=lambda image, label: image.flatten(1) @ weight, g=learner.g)
    batch = {"real": torch.rand(5, 1, 8, 8), "latent": torch.randn(5, learner.cfg.latent)}
    r1 = learner.d_loss(nets, batch)[1]["losses/r1"]
    assert torch.allclose(r1, weight.square().sum())
    assert torch.allclose(torch.autograd.grad(r1, weight)[0], 2 * weight), "the penalty can be differentiated"


def test_gan_losses_are_log_likelihoods_and_do_not_saturate():
    learner = make(gan, (1, 8, 8))
    logit = torch.tensor(-30.0, requires_grad=True)  # a discriminator that is sure
    nets = SimpleNamespace(g=lambda latent, label: latent, d=lambda fake, label: logit.expand(len(fake)))
    loss, _ = learner.g_loss(nets, {"latent": torch.zeros(4, 1)})
    assert loss.item() == pytest.approx(30.0)
    assert torch.autograd.grad(loss, logit)[0].item() == pytest.approx(-1.0)
    nets.d = lambda image, label: image.sum((1, 2, 3)) * 0
    batch = {"real": torch.rand(4, 1, 2, 2), "latent": torch.rand(4, 1, 2, 2)}
    assert learner.d_loss(nets, batch)[1]["losses/d_loss"].item() == pytest.approx(2 * math.log(2))


def test_ema_halves_in_its_half_life_whatever_the_batch_size():
    for batch_size in (10, 50):
        learner = make(gan, (1, 8, 8), ema_half_life=1000.0)
        learner.num_updates = 10**6
        assert learner._ema_decay(batch_size) ** (1000 / batch_size) == pytest.approx(0.5)
    learner.num_updates = 1
    assert learner._ema_decay(50) < 1e-5, "the first generators are forgotten at once"


def test_samples_come_from_the_averaged_generator_each_from_its_own_latent():
    learner = make(gan, (1, 8, 8))
    with torch.no_grad():
        for param in learner.g.parameters():
            param.zero_()
    assert learner.sample(8, seed=0).std() > 0.01
    latent = torch.randn(6, learner.cfg.latent)
    assert torch.allclose(learner.g_ema(latent)[:2], learner.g_ema(latent[:2]), atol=1e-5)


def test_adam_steps_right_when_a_gradient_is_laid_out_unlike_its_parameter():
    """Fused Adam pairs a weight with the wrong entry of a gradient of other strides, and says nothing on the CPU."""
    learner = make(gan, (1, 8, 8), anneal_lr=False, beta1=0.0)
    batch = {"real": torch.rand(16, 1, 8, 8), "latent": torch.randn(16, learner.cfg.latent)}
    params = list(learner.d.parameters())
    before, grads = params_of(learner.d), torch.autograd.grad(learner.d_loss(learner, batch)[0], params)
    learner.minimize(learner.d_loss, batch, learner.d_optimizer)
    for param, old, grad in zip(params, before, grads, strict=True):
        large = grad.abs() > 1e-4
        assert torch.equal((param - old).sign()[large], -grad.sign()[large]), (
            "Adam's first step is against the gradient"
        )


@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd"])
def test_betas_that_would_do_nothing_are_refused(optimizer: str) -> None:
    make(gan, (1, 8, 8), optimizer=optimizer)
    with pytest.raises(UsageError, match=f"--beta1 0.5 with --optimizer {optimizer}: it is Adam's"):
        make(gan, (1, 8, 8), optimizer=optimizer, beta1=0.5)


def test_the_step_of_a_generator_reads_no_images() -> None:
    """It scaled a batch of them at every update, and left them unread."""
    learner, images = make(gan, (1, 8, 8), batch_size=4, width=4), torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    read: dict[str, set[str]] = {}

    class Reads:
        def minimize(self, step: Any) -> dict[str, Tensor]:
            batch = step.noisy_batch()
            assert len(batch["latent"]) == 4
            read[step.loss.__name__] = set(batch)
            return {}

    learner.executor = Reads()
    learner.learn({"image": images})
    assert read == {"d_loss": {"real", "latent"}, "g_loss": {"latent"}}


def test_an_update_looks_for_no_tensors_of_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU a walk through the modules took as long as the rest of the average, in every update."""
    learner, images = make(gan, (1, 8, 8), batch_size=4, width=4), torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    other = copy.deepcopy(learner)
    learner.learn({"image": images})
    before = params_of(learner.g_ema)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "named_modules", lambda *args, **kwargs: pytest.fail("walks"))
        learner.learn({"image": images})
    assert not same(before, params_of(learner.g_ema))
    assert not same(params_of(other.g_ema), params_of(learner.g_ema))

    for _ in range(2):
        other.learn({"image": images})
    assert same(params_of(other.g_ema), params_of(learner.g_ema)), "a copy has an average of its own"


def test_the_latents_of_one_image_do_not_vary_and_are_no_collapse() -> None:
    """In batches of one, `losses/active_units` is 0 whatever is learned."""
    for size, watched in ((1, False), (2, True)):
        metrics = {rule.metric for rule in make(vae, (1, 4, 4), batch_size=size).watched}
        assert ("losses/active_units" in metrics) == watched
