"""GAN: a generator against a discriminator, on images of any size.

Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661, with the non-saturating loss of its section 3 on
logits; convolutional as Radford et al. 2016 (DCGAN, arXiv:1511.06434) but without normalisation layers, so that an
image depends on its own latent alone; the gradient penalty R1 on real images (Mescheder et al. 2018, arXiv:1801.04406),
which a small discriminator without normalisation needs to converge; samples come from an average of the generator's
weights over training (Karras et al. 2018, arXiv:1710.10196), whose half-life is counted in images.

B batch, Z latent, C H W image, h w the smallest feature map.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from rlgen.core.buffer import Buffer
from rlgen.core.functional import SoftUpdate, linear_schedule
from rlgen.core.learner import Batch, Generative
from rlgen.core.optimizer import AdamOptions, make_optimizer
from rlgen.data.images import ImageSpec


@dataclass(frozen=True)
class Config(AdamOptions):
    """Flags of `rlgen train gan`."""

    # divided by ranks
    batch_size: int = 64  # images in a gradient step of each network, in [1, 10**6]
    width: int = 32  # channels of the largest feature map; they double as the map halves, in [1, 65536]
    num_hidden: int = 256  # units between the smallest feature map and latent or logit, in [1, 65536]
    latent: int = 64  # size of the latent, in [1, 65536]
    g_lr: float = 2e-3  # step size for the generator at the start, in (0, inf)
    d_lr: float = 2e-3  # step size for the discriminator at the start, in (0, inf)
    beta1: float = 0.0  # Adam's decay of the mean gradient; momentum unsettles the game, in [0, 1)
    beta2: float = 0.99  # Adam's decay of the squared gradient, in [0, 1)
    anneal_lr: bool = True  # let the step sizes fall linearly to 0 over the run
    r1_gamma: float = 1.0  # weight of the gradient penalty on real images, in [0, inf)
    # divided by ranks
    ema_half_life: float = 10_000  # images after which a generator counts half in the average, in (0, inf)


class Generator(nn.Module):
    """Latent [B, Z] to images [B, C, H, W] in [-1, 1]: two linear layers, then maps that double to cover the image."""

    def __init__(self, shape: tuple[int, ...], width: int, hidden: int, latent: int) -> None:
        super().__init__()
        channels, *self.size = shape
        (height, breadth), num_doublings = smallest_map(self.size)
        top = width * 2 ** (num_doublings - 1)
        layers: list[nn.Module] = [nn.Linear(latent, hidden), nn.LeakyReLU(0.2)]
        layers += [nn.Linear(hidden, top * height * breadth), nn.Unflatten(1, (top, height, breadth))]
        for level in reversed(range(1, num_doublings)):
            num_in = width * 2**level
            layers += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(num_in, num_in // 2, 4, 2, 1)]
        layers += [nn.LeakyReLU(0.2), nn.Conv2d(width, 4 * channels, 3, 1, 1), nn.PixelShuffle(2), nn.Tanh()]
        self.layers = init(nn.Sequential(*layers))

    def forward(self, latent: Tensor) -> Tensor:
        """Images: [B, Z] -> [B, C, H, W]; of a map that overlaps the image the rest is cut off."""
        return self.layers(latent)[..., : self.size[0], : self.size[1]]


class Discriminator(nn.Module):
    """Images [B, C, H, W] in [-1, 1] to logits [B] of being real: the generator in reverse."""

    def __init__(self, shape: tuple[int, ...], width: int, hidden: int) -> None:
        super().__init__()
        channels, *size = shape
        (height, breadth), num_halvings = smallest_map(size)
        self.margin = (0, breadth * 2**num_halvings - size[1], 0, height * 2**num_halvings - size[0])
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        for level in range(1, num_halvings):
            num_out = width * 2**level
            layers += [nn.Conv2d(num_out // 2, num_out, 4, 2, 1), nn.LeakyReLU(0.2)]
        top = width * 2 ** (num_halvings - 1)
        layers += [nn.Flatten(), nn.Linear(top * height * breadth, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)]
        self.layers = init(nn.Sequential(*layers))

    def forward(self, image: Tensor) -> Tensor:
        """Logits: [B, C, H, W] -> [B]."""
        return self.layers(pad(image, self.margin)).squeeze(-1)


def smallest_map(size: list[int]) -> tuple[list[int], int]:
    """Halve (H, W), rounding up, while at least 4 x 4 remain: 28 -> 7, 32 -> 4; returns the size and the halvings."""
    num_halvings = max(1, int(math.log2(min(size) / 4)))
    return [math.ceil(side / 2**num_halvings) for side in size], num_halvings


def init(net: nn.Sequential) -> nn.Sequential:
    """Variance kept through leaky ReLUs (He et al. 2015), zero biases, and feature maps in the order the CPU likes."""
    for layer in net:
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            fan_in = math.prod(layer.weight.shape[1:])
            if isinstance(layer, nn.ConvTranspose2d):
                fan_in = layer.weight.shape[0] * 4  # 4 x 4 kernels, stride 2: 2 x 2 of each input reach a pixel
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (1.04 * fan_in)))
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class GAN(Generative):
    """Generator `g`, its average `g_ema`, and discriminator `d`, each of the two players with an optimizer."""

    Config = Config

    def __init__(self, cfg: Any, spec: ImageSpec) -> None:
        super().__init__(cfg)
        self.rows_per_turn = cfg.batch_size
        self.g = Generator(spec.shape, cfg.width, cfg.num_hidden, cfg.latent)
        self.d = Discriminator(spec.shape, cfg.width, cfg.num_hidden)
        self.g_ema = copy.deepcopy(self.g).requires_grad_(False)
        self.average = SoftUpdate(self.g_ema, self.g)
        self.g_optimizer = make_optimizer(cfg, self.g.parameters(), cfg.g_lr, betas=cfg.betas())
        self.d_optimizer = make_optimizer(cfg, self.d.parameters(), cfg.d_lr, betas=cfg.betas())

    def make_buffer(self) -> Buffer:
        """The data set itself, filled once."""
        return Buffer(generator=self.generator)

    def learning_rates(self) -> dict[str, float]:
        progress = self.progress if self.cfg.anneal_lr else 0.0
        rates = {"d_optimizer": self.cfg.d_lr, "g_optimizer": self.cfg.g_lr}
        return {name: linear_schedule(rate, 0.0, 1.0, progress) for name, rate in rates.items()}

    def update(self, batch: Batch) -> Batch:
        """One step of the discriminator, one of the generator, each against latents of its own."""
        metrics = self.minimize(self.d_loss, batch, self.d_optimizer, noise=self.d_noise)
        metrics |= self.minimize(self.g_loss, batch, self.g_optimizer, noise=self.g_noise)

        self.average(1 - self._ema_decay(self.cfg.batch_size))
        return metrics

    def d_noise(self, batch: Batch) -> Batch:
        """Images in [-1, 1], [B, C, H, W], and as many fresh latents [B, Z]."""
        return {"real": batch["image"] / 127.5 - 1} | self.g_noise(batch)

    def g_noise(self, batch: Batch) -> Batch:
        """As many fresh latents [B, Z] as there are images."""
        return {"latent": self._latent(len(batch["image"]))}

    def d_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        """-log D(real) - log(1 - D(fake)) + gamma / 2 * |grad D(real)|^2, each image's own gradient."""
        r1 = torch.zeros((), device=batch["real"].device)
        if self.cfg.r1_gamma > 0:
            real_logits, pull_back = torch.func.vjp(nets.d, batch["real"])  # type: ignore[misc]  # [B]
            (grad,) = pull_back(torch.ones_like(real_logits))  # [B, C, H, W]; an image's logit depends on it alone
            r1 = grad.square().sum((1, 2, 3)).mean()
        else:
            real_logits = nets.d(batch["real"])  # [B]
        with torch.no_grad():
            fake = nets.g(batch["latent"])  # [B, C, H, W]
        fake_logits = nets.d(fake)  # [B]

        d_loss = (softplus(-real_logits) + softplus(fake_logits)).mean()

        logits = {"losses/real_logits": real_logits.mean(), "losses/fake_logits": fake_logits.mean()}
        return d_loss + self.cfg.r1_gamma / 2 * r1, {"losses/d_loss": d_loss, "losses/r1": r1, **logits}

    def g_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        """-log D(fake): the non-saturating loss."""
        g_loss = softplus(-nets.d(nets.g(batch["latent"]))).mean()
        return g_loss, {"losses/g_loss": g_loss}

    def _latent(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        generator = generator or self.generator
        return torch.randn(num, self.cfg.latent, generator=generator, device=self.device)  # [num, Z]

    def _ema_decay(self, num_images: int) -> float:
        """Weight that the average keeps over `num_images`; early on its half-life is a twentieth of the images seen."""
        half_life = min(self.cfg.ema_half_life, 0.05 * self.num_updates * num_images)
        return 0.5 ** (num_images / half_life)

    @torch.no_grad()
    def sample(self, num: int, seed: int | None = None) -> Tensor:
        """Images of the averaged generator: [num, C, H, W] float32 in [0, 1]."""
        generator = None if seed is None else torch.Generator(self.device).manual_seed(seed)
        latent = self._latent(num, generator)  # [num, Z]
        images = torch.cat([self.g_ema(chunk) for chunk in latent.split(500)])  # bounds the memory of feature maps
        return (images + 1) / 2

    @torch.no_grad()
    def evaluate(self, images: Tensor) -> Batch:
        """Mean logits of held-out images, and of as many images of the averaged generator.

        `eval/d_real` far below `losses/real_logits` means that the discriminator knows its training images by heart;
        a `eval/d_gap` that grows without bound, that the generator has lost.
        """
        real_logits = torch.cat([self.d(chunk / 127.5 - 1) for chunk in images.split(500)]).mean()
        fake_logits = torch.cat([self.d(chunk * 2 - 1) for chunk in self.sample(len(images), 0).split(500)]).mean()
        return {"eval/d_real": real_logits, "eval/d_fake": fake_logits, "eval/d_gap": real_logits - fake_logits}
