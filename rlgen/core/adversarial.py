"""Losses and penalties of adversarial training, as pure functions of logits and of a discriminator.

B inputs of the discriminator; an input is an image, or a pack of some. Its logit depends on it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from rlgen.core.diff_augment import POLICIES
from rlgen.core.vital import NEAREST
from rlgen.core.watched import Below, Forgets, Rule, of_floor
from rlgen.errors import UsageError

Critic = Callable[[Tensor], Tensor]  # inputs [B, C, H, W] -> logits [B]


@dataclass(frozen=True)
class AdversarialOptions:
    """The rules of the game, for the `Config` of a model that plays it."""

    loss: Literal["non_saturating", "hinge", "least_squares", "wasserstein", "relativistic"] = (
        "non_saturating"  # loss; wasserstein: with --gp-weight 10 --r1-gamma 0 --n-critic 5; relativistic: with R2
    )
    r1_gamma: float = 1.0  # weight of the gradient penalty on real images, in [0, inf)
    r2_gamma: float = 0.0  # weight of the same on generated images, in [0, inf)
    gp_weight: float = 0.0  # weight of WGAN-GP's penalty: gradients of norm 1 between real and generated, in [0, inf)
    n_critic: int = 1  # steps of the discriminator, a batch each, for one of the generator, in [1, 1000]
    # fixed: other networks
    d_width: int | None = None  # channels of the discriminator's largest map (None: width); in [1, 65536]
    # fixed: other networks
    spectral_norm: bool = False  # divide the discriminator's weights by their norms
    # fixed: other networks
    conditional: bool = False  # learn from the images' labels too, for `rlgen sample RUN --label 3`
    # fixed: other networks
    # at most batch_size: a batch is made of packs
    pack: int = 1  # images that the discriminator judges as one, against mode collapse; in [1, 64]
    diff_augment: tuple[str, ...] = ()  # for few images: color translation cutout, or some of these

    def check(self, batch_size: int, num_classes: int | None) -> None:
        """Refuse what cannot go together.

        Args:
            batch_size: images in a batch.
            num_classes: of the images' labels; None where they have none.

        Raises:
            UsageError: with what to change.
        """
        what = f"--pack {self.pack}"
        if self.conditional and num_classes is None:
            raise UsageError("--conditional: the training images have no labels; leave it out")
        if self.conditional and self.pack > 1:
            raise UsageError(f"{what} with --conditional: images of a pack have several labels; leave one of them out")
        if batch_size % self.pack:
            fewer = batch_size // self.pack * self.pack
            sizes = f"{fewer} or {fewer + self.pack}" if fewer else f"{self.pack}"
            raise UsageError(
                f"{what} with batches of {batch_size}: a batch is made of whole packs; make it {sizes} images"
            )
        bounded = LOSSES[self.loss].equal is not None
        if not (bounded or self.spectral_norm or self.r1_gamma + self.r2_gamma + self.gp_weight):
            raise UsageError(f"--loss {self.loss} has no minimum by itself: add --gp-weight 10 or --spectral-norm")
        if other := [name for name in self.diff_augment if name not in POLICIES]:
            raise UsageError(f"--diff-augment {other[0]}: must be {', '.join(POLICIES)}, or some of these")


class AdversarialLoss(NamedTuple):
    """What each player minimizes, input by input: (logits of real ones [B], of fakes [B]) -> [B]."""

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Any, Tensor], Tensor]
    paired: bool = False  # the generator's reads logits of real ones too; else they may be None
    equal: float | None = None  # the discriminator's least where it cannot tell them apart; None: it has no bound


LOSSES = {
    # Goodfellow et al. 2014 (arXiv:1406.2661), section 3; sigmoids are in the softplus
    "non_saturating": AdversarialLoss(
        d=lambda real, fake: softplus(-real) + softplus(fake),
        g=lambda real, fake: softplus(-fake),
        equal=2 * math.log(2),
    ),
    # Lim and Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), equations 16 and 17
    "hinge": AdversarialLoss(
        d=lambda real, fake: relu(1 - real) + relu(1 + fake),
        g=lambda real, fake: -fake,
        equal=2.0,
    ),
    # Mao et al. 2017 (arXiv:1611.04076), equation 9: the labels are 0 and 1
    "least_squares": AdversarialLoss(
        d=lambda real, fake: ((real - 1).square() + fake.square()) / 2,
        g=lambda real, fake: (fake - 1).square() / 2,
        equal=0.25,
    ),
    # Arjovsky et al. 2017 (arXiv:1701.07875), equations 2 and 3
    "wasserstein": AdversarialLoss(
        d=lambda real, fake: fake - real,
        g=lambda real, fake: -fake,
    ),
    # Jolicoeur-Martineau 2018 (arXiv:1807.00734); Huang et al. 2024 (R3GAN, arXiv:2501.05441), equation 2: a real input
    # against a fake one, and the roles swapped
    "relativistic": AdversarialLoss(
        d=lambda real, fake: softplus(fake - real),
        g=lambda real, fake: softplus(real - fake),
        paired=True,
        equal=math.log(2),
    ),
}


def health_rules(options: AdversarialOptions) -> tuple[Rule, ...]:
    """What is watched of the samples, and of the discriminator, whose logits have a scale if its loss has a bound.

    What is to be tried is nothing that the options have. With `conditional` what D knows by heart is not watched:
    held-out images are judged without their labels, and not as training images are.
    """
    loss, steps = LOSSES[options.loss], "other --g-lr and --d-lr, or more --steps"
    gammas = " ".join(f"--{name}-gamma 1" for name in ("r1", "r2") if getattr(options, f"{name}_gamma") < 1)
    packs = "" if options.conditional or options.pack > 1 else "--pack 2"
    varied = ", or ".join(filter(None, (gammas, packs))) or steps
    rules = (
        Below(NEAREST, 0.5, "the samples are of few kinds", varied, 0.15),
        *of_floor("modes", 0.5, "the samples are of few classes", varied, 0.15),
        *of_floor("recall", 0.05, "the samples leave most images out", varied, 0.3),
        *of_floor("coverage", 0.08, "the samples are like few images", steps, 0.3),
    )
    if loss.equal is None:
        return rules
    rules += (Below("losses/d_loss", 0.05 * loss.equal, "D has won", "a higher --r1-gamma"),)
    advice = "a higher --r1-gamma, or more images"
    if not options.diff_augment:
        advice = f"--diff-augment color translation cutout, {advice}"
    by_heart = Forgets("eval/d_gap", 0.3, "D knows its training images by heart", advice, 0.15, fails_after=1.0)
    return rules if options.conditional else (*rules, by_heart)


def judge(critic: Critic, inputs: Tensor, penalised: bool) -> tuple[Tensor, Tensor]:
    """Logits [B], and the penalty R1 of real inputs or R2 of fakes: 0-d, 0 where it is not wanted.

    The mean over inputs of the squared gradient of an input's own logit, summed over its pixels (Mescheder et al. 2018,
    arXiv:1801.04406, equations 9 and 10, without gamma / 2).
    """
    if not penalised:
        return critic(inputs), torch.zeros((), device=inputs.device)
    logits, grad = with_gradient(critic, inputs)
    return logits, grad.square().sum((1, 2, 3)).mean()


def lipschitz_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """How far gradients between real inputs and fakes are from a length of 1, squared: 0-d (WGAN-GP).

    Gulrajani et al. 2017 (arXiv:1704.00028), equation 3 and algorithm 1, without lambda.

    Args:
        critic: logits of inputs.
        real: [B, C, H, W].
        fake: [B, C, H, W].
        mix: [B] in [0, 1], where between its real input and its fake each of the B points lies.
    """
    mix = mix.view(-1, 1, 1, 1)
    _, grad = with_gradient(critic, mix * real + (1 - mix) * fake)
    norm = (grad.square().sum((1, 2, 3)) + 1e-12).sqrt()  # [B]; the root of 0 has no slope
    return (norm - 1).square().mean()


def with_gradient(critic: Critic, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B], and the gradient of each by its input, [B, C, H, W], which can be differentiated again."""
    logits, pull_back = torch.func.vjp(critic, inputs)  # type: ignore[misc]
    (grad,) = pull_back(torch.ones_like(logits))  # an input's logit depends on it alone
    return logits, grad


def packed(images: Tensor, num: int) -> Tensor:
    """Packs of `num` images, one behind the other as channels: [B, C, H, W] -> [B / num, num * C, H, W]."""
    return images if num == 1 else images.unflatten(0, (-1, num)).flatten(1, 2)


def drawn_packs(images: Tensor, num: int) -> Tensor:
    """Packs of a whole set, each of images that are drawn from it, as in training: a set may be sorted by its classes.

    The same for the same set; as many images as there are, in whole packs.
    """
    if num == 1:
        return images
    generator = torch.Generator(images.device).manual_seed(0)
    size = (max(len(images) // num, 1) * num,)
    return packed(images[torch.randint(len(images), size, generator=generator, device=images.device)], num)
