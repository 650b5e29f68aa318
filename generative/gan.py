"""GAN: a generator against a discriminator, on images of any size.

Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661, with the non-saturating loss of its section 3 on
logits, or another loss or penalty of `rlgen.core.adversarial`; convolutional as Radford et al. 2016 (DCGAN,
arXiv:1511.06434) but without normalisation layers, so that an image depends on its own latent alone; the gradient
penalty R1 on real images (Mescheder et al. 2018, arXiv:1801.04406), which a small discriminator without normalisation
needs to converge; samples come from an average of the generator's weights over training (Karras et al. 2018,
arXiv:1710.10196), whose half-life is counted in images. The clock counts real images that the discriminator draws.

The discriminator's input is one image, or a pack of several, one behind the other as channels (Lin et al. 2018, PacGAN,
arXiv:1712.04086), and penalties are of inputs: of one's own logit, summed over its pixels.

B batch, m images of a pack, Z latent, C H W image.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from rlgen.core.adversarial import (
    LOSSES,
    AdversarialOptions,
    drawn_packs,
    health_rules,
    judge,
    lipschitz_penalty,
    packed,
)
from rlgen.core.buffer import Buffer
from rlgen.core.diff_augment import NUM_CHANCES, diff_augment
from rlgen.core.functional import SoftUpdate, linear_schedule
from rlgen.core.learner import Batch, Generative
from rlgen.core.optimizer import AdamOptions, make_optimizer
from rlgen.data.images import ImageSpec
from rlgen.nets.players import Discriminator, Generator


@dataclass(frozen=True)
class Config(AdversarialOptions, AdamOptions):
    """Flags of `rlgen train gan`."""

    # divided by ranks
    batch_size: int = 64  # images in a gradient step of each network, in [1, 10**6]
    # fixed: other networks
    architecture: Literal["dcgan", "resnet"] = "dcgan"  # strided convolutions, or residual blocks: smoother and slower
    # fixed: other networks
    width: int = 32  # channels of the largest feature map; they double as the map halves, in [1, 65536]
    # fixed: other networks
    num_hidden: int = 256  # units between the smallest feature map and latent or logit, in [1, 65536]
    latent: int = 64  # size of the latent, in [1, 65536]; fixed: other networks
    g_lr: float = 2e-3  # step size for the generator at the start, in (0, inf)
    d_lr: float = 2e-3  # step size for the discriminator at the start, in (0, inf)
    beta1: float = 0.0  # Adam's decay of the mean gradient; momentum unsettles the game, in [0, 1)
    beta2: float = 0.99  # Adam's decay of the squared gradient, in [0, 1)
    anneal_lr: bool = True  # let the step sizes fall linearly to 0 over the run
    # divided by ranks
    ema_half_life: float = 10_000  # images after which a generator counts half in the average, in (0, inf)


class GAN(Generative):
    """Generator `g`, its average `g_ema`, and discriminator `d`, each of the two players with an optimizer."""

    Config, averages = Config, True

    def __init__(self, cfg: Any, spec: ImageSpec) -> None:
        super().__init__(cfg)
        cfg.check(cfg.batch_size, spec.num_classes)
        self.loss = LOSSES[cfg.loss]
        self.watched = (*self.watched, *health_rules(cfg))
        self.rows_per_turn = cfg.n_critic * cfg.batch_size
        self.latent_size, self.num_classes = cfg.latent, spec.num_classes if cfg.conditional else None
        self.classes = spec.classes if cfg.conditional else None
        channels, *size = spec.shape
        seen, options = (cfg.pack * channels, *size), (cfg.architecture, self.num_classes)
        self.g = Generator(spec.shape, cfg.width, cfg.num_hidden, cfg.latent, *options)
        self.d = Discriminator(seen, cfg.d_width or cfg.width, cfg.num_hidden, *options, cfg.spectral_norm)
        self.g_ema = copy.deepcopy(self.g).requires_grad_(False)
        self.average = SoftUpdate(self.g_ema, self.g)
        self.g_optimizer = make_optimizer(cfg, self.g.parameters(), cfg.g_lr, betas=cfg.betas())
        self.d_optimizer = make_optimizer(cfg, self.d.parameters(), cfg.d_lr, betas=cfg.betas())

    def make_buffer(self) -> Buffer:
        """The data set itself, filled once."""
        return Buffer(generator=self.generator)

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        """One batch of images for each step of the discriminator, drawn uniformly."""
        for _ in range(self.cfg.n_critic):
            yield buffer.sample(self.cfg.batch_size)

    def learning_rates(self) -> dict[str, float]:
        progress = self.progress if self.cfg.anneal_lr else 0.0
        rates = {"d_optimizer": self.cfg.d_lr, "g_optimizer": self.cfg.g_lr}
        return {name: linear_schedule(rate, 0.0, 1.0, progress) for name, rate in rates.items()}

    def update(self, batch: Batch) -> Batch:
        """One step of the discriminator and, after n_critic of them, one of the generator, against other latents."""
        metrics = self.minimize(self.d_loss, batch, self.d_optimizer, noise=self.d_noise)
        if self.num_updates % self.cfg.n_critic == 0:
            metrics |= self.minimize(self.g_loss, batch, self.g_optimizer, noise=self.g_noise)
            self.average(1 - self._ema_decay(self.cfg.n_critic * self.cfg.batch_size))
        return metrics

    def d_noise(self, batch: Batch) -> Batch:
        """Images in [-1, 1], [B, C, H, W], what as many fakes are made of, and where WGAN-GP looks between them."""
        noise = {"real": batch["image"] / 127.5 - 1} | self._noise(batch)
        return noise | {"mix": self._uniform(len(batch["image"]))} if self.cfg.gp_weight > 0 else noise

    def g_noise(self, batch: Batch) -> Batch:
        """What as many fakes as images are made of; and the images, where the loss reads them."""
        noise = self._noise(batch)
        return {"real": batch["image"] / 127.5 - 1} | noise if self.loss.paired else noise

    def d_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        """The discriminator's loss, + gamma / 2 * |grad D|^2 at real images and at fakes, + WGAN-GP's penalty."""
        cfg, d = self.cfg, partial(nets.d, label=batch.get("label"))
        real = self.seen(batch["real"], batch)  # [B / m, m C, H, W]
        with torch.no_grad():
            fake = self.seen(nets.g(batch["latent"], batch.get("label")), batch)

        real_logits, r1 = judge(d, real, cfg.r1_gamma > 0)
        fake_logits, r2 = judge(d, fake, cfg.r2_gamma > 0)
        d_loss = self.loss.d(real_logits, fake_logits).mean()

        total, metrics = d_loss + cfg.r1_gamma / 2 * r1, {"losses/d_loss": d_loss, "losses/r1": r1}
        if cfg.r2_gamma > 0:
            total, metrics["losses/r2"] = total + cfg.r2_gamma / 2 * r2, r2
        if cfg.gp_weight > 0:
            gp = lipschitz_penalty(d, real, fake, batch["mix"][:: cfg.pack])
            total, metrics["losses/gp"] = total + cfg.gp_weight * gp, gp
        return total, metrics | {"losses/real_logits": real_logits.mean(), "losses/fake_logits": fake_logits.mean()}

    def g_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        """The generator's loss; where it is of pairs, of each fake and the real image beside it."""
        label = batch.get("label")
        fake_logits = nets.d(self.seen(nets.g(batch["latent"], label), batch), label)  # [B / m]
        with torch.no_grad():
            real_logits = nets.d(self.seen(batch["real"], batch), label) if self.loss.paired else None

        g_loss = self.loss.g(real_logits, fake_logits).mean()
        return g_loss, {"losses/g_loss": g_loss}

    def seen(self, images: Tensor, batch: Batch) -> Tensor:
        """Images as the discriminator gets them, real ones and fakes alike: [B, C, H, W] -> [B / m, m C, H, W]."""
        if self.cfg.diff_augment:
            images = diff_augment(images, batch["chance"], self.cfg.diff_augment)
        return packed(images, self.cfg.pack)

    def _noise(self, batch: Batch) -> Batch:
        noise = {"latent": self.latents(len(batch["image"]))}
        if self.num_classes is not None:
            noise["label"] = batch["label"]  # [B]
        if self.cfg.diff_augment:
            noise["chance"] = self._uniform(len(batch["image"]), NUM_CHANCES)
        return noise

    def _uniform(self, *size: int) -> Tensor:
        return torch.rand(*size, generator=self.generator, device=self.device)

    def _ema_decay(self, num_images: int) -> float:
        """Weight that the average keeps over `num_images`; early on its half-life is a twentieth of the images seen."""
        half_life = min(self.cfg.ema_half_life, 0.05 * (self.num_updates // self.cfg.n_critic) * num_images)
        return 0.5 ** (num_images / half_life)

    def sample(self, num: int, label: int | Tensor | None = None, seed: int | None = None, ema: bool = True) -> Tensor:
        """Images of the averaged generator, or of the one that trains: [num, C, H, W] float32 in [0, 1].

        Their `label`, or labels [num], as `Generative.labels` has them.
        """
        return self.decode(self.latents(num, seed), self.labels(num, label), ema)

    @torch.no_grad()
    def decode(self, latent: Tensor, label: Tensor | None = None, ema: bool = True) -> Tensor:
        """Images of latents [N, Z] and labels [N], as of `sample`: [N, C, H, W]."""
        g = self.g_ema if ema else self.g
        inputs = zip(*(each.split(500) for each in (latent, label) if each is not None), strict=True)
        return (torch.cat([g(*chunk) for chunk in inputs]) + 1) / 2  # chunks bound the memory of feature maps

    @torch.no_grad()
    def evaluate(self, images: Tensor) -> Batch:
        """Mean logits of held-out images, and of as many images of the averaged generator; none of them by its label.

        `eval/d_real` far below `losses/real_logits` means that the discriminator knows its training images by heart;
        a `eval/d_gap` that grows without bound, that the generator has lost.
        """
        fake = self.sample(len(images), seed=0)
        real, fake = (drawn_packs(each, self.cfg.pack).split(500) for each in (images, fake))
        real_logits = torch.cat([self.d(chunk / 127.5 - 1) for chunk in real]).mean()
        fake_logits = torch.cat([self.d(chunk * 2 - 1) for chunk in fake]).mean()
        return {"eval/d_real": real_logits, "eval/d_fake": fake_logits, "eval/d_gap": real_logits - fake_logits}
