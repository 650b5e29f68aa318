"""The game with every loss, penalty and option: what is in a loss, who moves, what is counted, what is drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import GAMES, assert_resumed_equal, tiny
from torch import Tensor, nn

from generative.gan import GAN, Config
from rlgen import experiment
from rlgen.core.adversarial import LOSSES
from rlgen.core.batch import Batch
from rlgen.core.vital import NEAREST, SPREAD
from rlgen.data.images import ImageSpec
from rlgen.errors import UsageError
from rlgen.runs.health import Health

SHAPE = (1, 8, 8)
SMALL = {"batch_size": 8, "width": 4, "num_hidden": 16, "latent": 4}
PENALTIES = {"r1_gamma": 3.0, "r2_gamma": 5.0, "gp_weight": 7.0}


def made(shape: tuple[int, int, int] = SHAPE, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return GAN(Config(**(SMALL | options)), ImageSpec(shape, 3))


def game(name: str, **more: Any) -> Any:
    return made(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in GAMES[name].items()}, **more
    )


def some(num: int = 8, shape: tuple[int, ...] = SHAPE) -> Batch:
    """Images as they come from the buffer, with labels."""
    draw = torch.Generator().manual_seed(1)
    image = torch.randint(256, (num, *shape), dtype=torch.uint8, generator=draw)
    return {"image": image, "label": torch.arange(num) % 3}


def values(net: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in net.parameters()]


def moved(net: nn.Module, before: list[Tensor]) -> set[str]:
    names = (name for name, _ in net.named_parameters())
    return {name for name, one, other in zip(names, before, values(net), strict=True) if not torch.equal(one, other)}


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def last_bias(d: nn.Module) -> str:
    return [name for name, _ in d.named_parameters() if name.startswith("layers") and name.endswith("bias")][-1]


def slopes(critic: Any, inputs: Tensor) -> Tensor:
    """The gradient of each input's logit, one input after the other."""
    found = []
    for one in inputs.detach():
        one = one[None].requires_grad_()
        found.append(torch.autograd.grad(critic(one).sum(), one)[0])
    return torch.cat(found)


@pytest.mark.parametrize("name", GAMES)
def test_each_player_moves_alone(name: str) -> None:
    learner, batch = game(name), some()
    g, d = values(learner.g), values(learner.d)
    learner.minimize(learner.d_loss, batch, learner.d_optimizer, noise=learner.d_noise)
    assert same(g, values(learner.g))
    still = {name for name, _ in learner.d.named_parameters()} - moved(learner.d, d)
    assert still <= {last_bias(learner.d)}, "no loss of differences moves the constant"
    d = values(learner.d)
    learner.minimize(learner.g_loss, batch, learner.g_optimizer, noise=learner.g_noise)
    assert same(d, values(learner.d)) and moved(learner.g, g) == {name for name, _ in learner.g.named_parameters()}


@pytest.mark.parametrize("pack", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_the_discriminator_is_that_of_its_inputs_and_its_penalties(loss: str, pack: int) -> None:
    learner = made(loss=loss, pack=pack, **PENALTIES)
    batch = learner.d_noise(some())
    total, metrics = learner.d_loss(learner, batch)

    def inputs(images: Tensor) -> Tensor:
        return torch.stack([torch.cat([*images[i : i + pack]]) for i in range(0, 8, pack)])

    real, fake = inputs(batch["real"]), inputs(learner.g(batch["latent"])).detach()
    assert real.shape == (8 // pack, pack, 8, 8)
    r1, r2 = (slopes(learner.d, each).square().sum((1, 2, 3)).mean() for each in (real, fake))
    mix = batch["mix"][::pack].view(-1, 1, 1, 1)
    gp = (slopes(learner.d, mix * real + (1 - mix) * fake).flatten(1).norm(dim=1) - 1).square().mean()
    d_loss = LOSSES[loss].d(learner.d(real), learner.d(fake)).mean()
    expected = {"losses/d_loss": d_loss, "losses/r1": r1, "losses/r2": r2, "losses/gp": gp}
    for key, value in expected.items():
        torch.testing.assert_close(metrics[key], value, rtol=1e-4, atol=1e-5, msg=key)
    torch.testing.assert_close(total, d_loss + 3 / 2 * r1 + 5 / 2 * r2 + 7 * gp, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_the_generator_pushes_logits_of_its_images_up(loss: str) -> None:
    learner = made(loss=loss)
    batch = learner.g_noise(some())
    value, metrics = learner.g_loss(learner, batch)
    real = learner.d(batch["real"]) if loss == "relativistic" else None
    fake = learner.d(learner.g(batch["latent"])).detach().requires_grad_()
    expected = LOSSES[loss].g(real, fake).mean()
    torch.testing.assert_close(value, expected)
    assert metrics.keys() == {"losses/g_loss"}
    assert (torch.autograd.grad(expected, fake)[0] < 0).all()


def test_only_the_loss_of_pairs_gives_the_generator_images() -> None:
    for loss in LOSSES:
        assert ("real" in made(loss=loss).g_noise(some())) == (loss == "relativistic")


@pytest.mark.parametrize("policies", [("color", "translation", "cutout"), ("cutout",)])
def test_real_and_generated_images_are_seen_through_one_transformation(policies: tuple[str, ...]) -> None:
    """A generator that returns the real images cannot be told from them, in either step."""
    learner = made(diff_augment=policies, loss="relativistic")
    batch = learner.d_noise(some())
    given: list[Tensor] = []
    nets = SimpleNamespace(
        g=lambda latent, label: batch["real"], d=lambda image, label: (given.append(image), learner.d(image))[1]
    )
    metrics = learner.d_loss(nets, batch)[1]
    assert torch.equal(metrics["losses/real_logits"], metrics["losses/fake_logits"])
    learner.g_loss(nets, batch)
    assert len(given) == 4 and all(torch.equal(each, given[1]) for each in given[1:])
    assert not torch.equal(given[1], batch["real"]), "they are changed"
    assert not torch.equal(learner.g_noise(some())["chance"], batch["chance"]), "otherwise in each step"


def test_the_generator_learns_through_the_transformation() -> None:
    learner = made(diff_augment=("color", "translation", "cutout"))
    loss, _ = learner.g_loss(learner, learner.g_noise(some()))
    assert all(grad.any() for grad in torch.autograd.grad(loss, list(learner.g.parameters())))


# What is counted


def test_the_clock_counts_what_the_discriminator_draws() -> None:
    learner = made(n_critic=3)
    buffer = learner.make_buffer()
    buffer.add(some(20))
    assert learner.rows_per_turn == 24
    g_moved = []
    for _ in range(2):
        for batch in learner.batches(buffer):
            before = values(learner.g)
            assert len(batch["image"]) == 8
            metrics = learner.learn(batch)
            g_moved.append(not same(before, values(learner.g)))
            assert ("losses/g_loss" in metrics) == g_moved[-1] and "losses/d_loss" in metrics
    assert g_moved == [False, False, True] * 2


@pytest.mark.parametrize("n_critic", [1, 4])
@pytest.mark.parametrize("batch_size", [4, 20])
def test_the_half_life_of_the_average_is_in_images_whatever_the_batch_and_the_turn(
    batch_size: int, n_critic: int
) -> None:
    """Of a generator that stands still after a jump, the average has come half of the way."""
    learner = made(batch_size=batch_size, n_critic=n_critic, ema_half_life=800.0, g_lr=1e-30)
    learner.num_updates = n_critic * 10**6
    with torch.no_grad():
        for net, value in ((learner.g, 1.0), (learner.g_ema, 0.0)):
            for param in net.parameters():
                param.fill_(value)
    learner.executor = SimpleNamespace(minimize=lambda step: {})
    for _ in range(800 // batch_size):
        learner.learn(some(batch_size))
    for param in learner.g_ema.parameters():
        torch.testing.assert_close(param, torch.full_like(param, 0.5))


@pytest.mark.parametrize("name", GAMES)
def test_a_run_goes_on_as_if_it_had_never_stopped(name: str, tmp_path: Path) -> None:
    options = {"steps": 480, "log_every": 96, "eval_every": 240, "checkpoint_every": 96, "keep": 9}
    whole = experiment.start(tiny("gan", tmp_path, name="whole", **options, **GAMES[name]), quiet=True)
    assert_resumed_equal(whole, 288)


# What is watched


@pytest.mark.parametrize("loss", LOSSES)
def test_few_kinds_of_samples_are_noticed_with_every_loss(loss: str) -> None:
    said = judged(made(loss=loss).watched, {NEAREST: 0.3, SPREAD: 0.9})
    assert said.startswith("the samples are of few kinds: health/nearest is 0.3")
    assert judged(made(loss=loss).watched, {NEAREST: 0.6, SPREAD: 0.9}) == ""


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "wasserstein"])
def test_a_discriminator_that_tells_all_apart_has_won_with_every_loss(loss: str) -> None:
    """Its loss at logits far apart for this loss, and at logits such as good samples have."""
    far = {"hinge": (1.01, -1.02), "least_squares": (0.95, 0.04)}.get(loss, (5.0, -6.0))
    for logits, wins in ((far, True), ((0.6, 0.3), False), ((0.0, 0.0), False)):
        real, fake = (torch.tensor(each, dtype=torch.float64) for each in logits)
        said = judged(made(loss=loss).watched, {"losses/d_loss": LOSSES[loss].d(real, fake).item()})
        assert said.startswith("D has won: losses/d_loss is") == wins


@pytest.mark.parametrize(("modes", "few"), [(99.0, True), (600.0, False)])
def test_a_generator_that_has_lost_most_of_many_classes_is_noticed(modes: float, few: bool) -> None:
    """Of 2,000 real images of 1,000 classes, about 865 classes occur; the samples do not lie near each other."""
    row = {"eval/modes_lenet": modes, "eval/floor/modes_lenet": 865.0, NEAREST: 1.0, SPREAD: 1.0}
    assert judged(made().watched, row).startswith("the samples are of few classes: eval/modes_lenet is 99") == few


@pytest.mark.parametrize("features", ["lenet", "random"])
def test_samples_that_are_like_no_image_are_noticed(features: str) -> None:
    """As noise is, of which each picture is another."""
    for coverage, said in ((0.05, True), (0.2, False)):
        row = {f"eval/coverage_{features}": coverage, f"eval/floor/coverage_{features}": 0.95, NEAREST: 1.4}
        assert judged(made().watched, row, 400).startswith("the samples are like few images: ") == said


@pytest.mark.parametrize(("recall", "said"), [(0.04, True), (0.05, False)])
def test_samples_that_leave_most_images_out_are_noticed_from_a_third_of_the_run_on(recall: float, said: bool) -> None:
    """Of 1,000 classes half may be left, and samples of these that hardly differ."""
    row = {"eval/recall_lenet": recall, "eval/floor/recall_lenet": 0.9, NEAREST: 0.8}
    assert judged(made().watched, row, 400).startswith("the samples leave most images out: ") == said
    assert judged(made().watched, row, 300) == ""


def test_a_discriminator_that_knows_its_images_by_heart_is_noticed_and_has_not_failed() -> None:
    """Figures of 80 digits, and of the 1,438, at the end of short runs; those of Wasserstein's have no scale."""
    few = {"losses/real_logits": 0.6, "losses/fake_logits": -0.4, "eval/d_gap": 0.03}
    many = few | {"losses/real_logits": 0.15, "losses/fake_logits": -0.1, "eval/d_gap": 0.15}
    for row, said in ((few, True), (many, False)):
        assert judged(made().watched, row, 1000).startswith("D knows its training images by heart: ") == said
    for options in ({"conditional": True}, {"loss": "wasserstein"}):
        assert judged(made(**options).watched, few, 1000) == ""


def judged(rules: Any, row: dict[str, float], steps: int = 250) -> str:
    """What is said after so many steps of a run of 1,000 whose rows are all the same."""
    judge = Health(rules, 1000)
    for step in range(10, steps, 10):
        judge.add({"step": step} | row)
    return judge.verdict.reason


# What is drawn


def test_images_are_of_the_asked_class_or_of_each_as_many() -> None:
    learner = made(conditional=True)
    asked = [learner.sample(4, label=label, seed=2) for label in range(3)]
    assert all(not torch.allclose(asked[i], asked[j]) for i in range(3) for j in range(i))
    every = learner.sample(4, label=torch.tensor([2, 0, 1, 1]), seed=2)
    assert torch.allclose(every, torch.stack([asked[2][0], asked[0][1], asked[1][2], asked[1][3]]), atol=1e-6)
    assert learner.labels(7, None).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert learner.sample(0, seed=0).shape == (0, *SHAPE)
    for label in (-1, 3, 10**30, torch.tensor([0, 1, 2, 3])):
        with pytest.raises(UsageError, match=r"label .*must be in \[0, 2\]"):
            learner.sample(4, label=label)


def test_a_model_draws_the_classes_that_it_has_seen_and_refuses_others() -> None:
    learner = GAN(Config(**SMALL, conditional=True), ImageSpec(SHAPE, 10, classes=(0, 5, 9)))
    assert learner.labels(7, None).tolist() == [0, 0, 0, 5, 5, 9, 9] and list(learner.kinds) == [0, 5, 9]
    assert learner.labels(2, 9).tolist() == [9, 9]
    for label in (1, -1, 10, torch.tensor([0, 4])):
        with pytest.raises(UsageError, match="must be one of 0, 5, 9, one that the model learned with"):
            learner.labels(2, label)
    many = GAN(Config(**SMALL, conditional=True), ImageSpec(SHAPE, 90, classes=tuple(range(0, 90, 2))))
    with pytest.raises(UsageError, match="one of 0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and 35 more, one that"):
        many.labels(2, 1)


def test_labels_are_refused_where_none_were_learned() -> None:
    with pytest.raises(UsageError, match="label 1: this model learned without labels"):
        made().sample(4, label=1)


def test_the_generator_itself_can_be_drawn_from_too() -> None:
    learner = made()
    for _ in range(3):
        learner.learn(some())
    latent = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    for ema, net in ((True, learner.g_ema), (False, learner.g)):
        torch.testing.assert_close(learner.sample(5, seed=3, ema=ema), (net(latent) + 1) / 2)
    assert not torch.allclose(learner.sample(5, seed=3), learner.sample(5, seed=3, ema=False))


@pytest.mark.parametrize("options", [{"pack": 3, "batch_size": 9}, {"conditional": True}])
@pytest.mark.parametrize("num", [1, 2, 10])
def test_a_held_out_set_of_any_size_is_judged(options: dict[str, Any], num: int) -> None:
    learner, images = made(**options), some(num)["image"]
    found = learner.evaluate(images)
    assert found == learner.evaluate(images)
    assert found.keys() == {"eval/d_real", "eval/d_fake", "eval/d_gap"} and all(
        value.isfinite() for value in found.values()
    )


# Learning


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_pixels_from_a_gaussian_get_its_mean_and_deviation(loss: str) -> None:
    """Wasserstein's with R1 and R2: with WGAN-GP's penalty it goes round in one dimension (Mescheder et al. 2018)."""
    mean, deviation = 100.0, 30.0
    pixels = mean + deviation * torch.randn(5000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    r2_gamma = 1.0 if loss in ("relativistic", "wasserstein") else 0.0
    options = {"width": 4, "num_hidden": 32, "latent": 4, "batch_size": 128}
    learner = made((1, 1, 1), loss=loss, r2_gamma=r2_gamma, **options)
    buffer, num = learner.make_buffer(), 500
    buffer.add({"image": pixels.round().clamp(0, 255).to(torch.uint8)})
    for i in range(num):
        learner.progress = i / num
        for batch in learner.batches(buffer):
            learner.learn(batch)
    sample = learner.sample(4000, seed=0) * 255
    assert sample.mean().item() == pytest.approx(mean, abs=5)
    assert sample.std().item() == pytest.approx(deviation, rel=0.15)


def test_the_discriminator_has_a_size_of_its_own():
    """As in PacGAN's experiments with a small one (Lin et al. 2018); by default it is as wide as the generator."""
    whole, small = made(), made(d_width=1)
    shapes = [[tuple(param.shape) for param in net.parameters()] for net in (whole.g, small.g)]
    assert shapes[0] == shapes[1]
    assert [net.d.layers[1].out_channels for net in (whole, small)] == [SMALL["width"], 1]
    assert not [metric for metric in small.learn(some()).values() if not metric.isfinite()]


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "--r2-gamma 1, or --pack 2"),
        ({"pack": 2, "r1_gamma": 0.5}, "--r1-gamma 1 --r2-gamma 1"),
        ({"conditional": True}, "--r2-gamma 1"),
        ({"r2_gamma": 1.0}, "--pack 2"),
        ({"r2_gamma": 1.0, "pack": 2}, "other --g-lr and --d-lr, or more --steps"),
    ],
)
def test_what_to_try_is_nothing_that_the_run_has(options, advice):
    said = {rule.advice for rule in made(**options).watched if rule.says.startswith("the samples are of few")}
    assert said == {advice}


def test_diff_augment_is_advised_once():
    advice = [
        rule.advice
        for policies in ((), ("color",))
        for rule in made(diff_augment=policies).watched
        if "by heart" in rule.says
    ]
    assert advice[0].endswith(advice[1]) and "--diff-augment" in advice[0] and "--diff-augment" not in advice[1]
