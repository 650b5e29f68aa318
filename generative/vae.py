"""VAE: a variational autoencoder with a Bernoulli likelihood.

Kingma and Welling 2014, "Auto-Encoding Variational Bayes", arXiv:1312.6114. Likelihoods are those of binarised images
and in nats per image, so that they can be compared (Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5).

Protocol. A pixel of 0..255 is the probability, in 255ths, that the binary pixel is 1. In training every pixel is drawn
anew each time its image is ("dynamic binarisation"); a held-out set is drawn as a whole from a generator that
`evaluate` seeds with 0 at every call, so that the same set gets the same bits at every step of every run. `eval/nll` is
the importance-weighted bound with `nll_samples` samples from the posterior, at least the true value on average.

B batch, K importance samples, Z latent, D = C * H * W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rlgen.core.buffer import Buffer
from rlgen.core.functional import linear_schedule
from rlgen.core.learner import Batch, Generative
from rlgen.core.optimizer import OptimizerOptions, make_optimizer
from rlgen.core.watched import Below, Stays
from rlgen.data.images import ImageSpec
from rlgen.nets.layers import LayerOptions
from rlgen.nets.perceptron import mlp

CHUNK = 500  # images whose importance samples are computed together
ACTIVE_VARIANCE = 0.01  # a latent is active if its posterior mean varies more than this over images (Burda et al. 2016)


@dataclass(frozen=True)
class Config(OptimizerOptions, LayerOptions):
    """Flags of `rlgen train vae`."""

    # divided by ranks
    batch_size: int = 128  # images in a gradient step, in [1, 10**6]
    hidden: tuple[int, ...] = (500,)  # layers, reversed in the decoder; in [1, 65536]; fixed: networks of other sizes
    latent: int = 40  # size of the latent, in [1, 65536]; fixed: networks of other sizes
    lr: float = 2e-3  # step size at the start, in (0, inf)
    anneal_lr: bool = True  # let the step size fall linearly to 0 over the run
    # other scores in eval/nll: importance samples behind the NLL
    nll_samples: int = 500  # importance samples behind eval/nll, in [1, inf)


class VAE(Generative):
    """Two MLPs, q(latent | image) and p(image | latent), and one optimizer over both."""

    Config = Config
    watched = (
        *Generative.watched,
        Below("losses/active_units", 1.0, "the posterior has collapsed", "a lower --lr, or a smaller --latent"),
        Stays("losses/elbo"),
    )

    def __init__(self, cfg: Any, spec: ImageSpec) -> None:
        super().__init__(cfg)
        self.shape = spec.shape  # (C, H, W)
        self.rows_per_turn, self.latent_size = cfg.batch_size, cfg.latent
        if cfg.batch_size == 1:  # no latent varies within a batch
            self.watched = tuple(rule for rule in self.watched if rule.metric != "losses/active_units")
        num_pixels = math.prod(spec.shape)
        self.encoder = mlp([num_pixels, *cfg.hidden, 2 * cfg.latent], options=cfg)
        self.decoder = mlp([cfg.latent, *cfg.hidden[::-1], num_pixels], options=cfg)
        self.optimizer = make_optimizer(cfg, self.parameters(), cfg.lr)

    def make_buffer(self) -> Buffer:
        """The data set itself, filled once."""
        return Buffer(generator=self.generator)

    def learning_rates(self) -> dict[str, float]:
        return {"optimizer": linear_schedule(self.cfg.lr, 0.0, 1.0, self.progress if self.cfg.anneal_lr else 0.0)}

    def update(self, batch: Batch) -> Batch:
        """One step up the ELBO of freshly binarised images."""
        return self.minimize(self.loss, batch, self.optimizer, noise=self.noise)

    def noise(self, batch: Batch) -> Batch:
        """The random numbers of a step: fresh binary pixels of its images, and noise for their latents."""
        image = binarise(batch["image"], self.generator)  # [B, D]
        return {"image": image, "noise": self._noise(self.generator, len(image))}

    def loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        """The negative ELBO (equation 10): distortion plus rate, summed over pixels and latents, mean over images."""
        mean, log_var = nets.encoder(batch["image"]).chunk(2, -1)  # [B, Z] both
        latent = mean + (log_var / 2).exp() * batch["noise"]  # [B, Z]
        distortion = -log_likelihood(nets.decoder(latent), batch["image"]).mean()
        kl = kl_to_standard_normal(mean, log_var).mean()

        loss = distortion + kl

        active_units = (mean.var(0, correction=0) > ACTIVE_VARIANCE).sum(dtype=torch.float32)
        metrics = {"elbo": -loss, "kl": kl, "distortion": distortion, "active_units": active_units}
        return loss, {f"losses/{name}": value for name, value in metrics.items()}

    def sample(self, num: int, seed: int | None = None) -> Tensor:
        """Means of the pixels for latents from the prior: [num, C, H, W] float32 in [0, 1]."""
        return self.decode(self.latents(num, seed))

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Means of the pixels, [N, Z] -> [N, C, H, W]."""
        return self.decoder(latent).sigmoid().unflatten(-1, self.shape)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Pixel means for the posterior means of `images`: [B, C, H, W] uint8 -> [B, C, H, W] float32 in [0, 1]."""
        mean, _ = self.encoder(images.flatten(1) / 255).chunk(2, -1)  # [B, Z]
        return self.decode(mean)

    @torch.no_grad()
    def evaluate(self, images: Tensor) -> Batch:
        """ELBO, its two parts, active units and the importance-weighted NLL of a set of images, in nats."""
        generator = torch.Generator(self.device).manual_seed(0)
        image = binarise(images, generator)  # [B, D]
        batch = {"image": image, "noise": self._noise(generator, len(image))}
        metrics = {name.replace("losses/", "eval/"): value for name, value in self.loss(self, batch)[1].items()}
        return metrics | {"eval/nll": self.nll(image, self.cfg.nll_samples, generator)}

    @torch.no_grad()
    def nll(self, image: Tensor, num_samples: int, generator: torch.Generator) -> Tensor:
        """-log p(image) in nats, mean over images, by importance sampling (Burda et al. 2016, equation 8): 0-d.

        Args:
            image: binary pixels of M images, [M, D] float.
            num_samples: K; at 1 this is a one-sample ELBO, and it falls towards the true value as K grows.
            generator: of the samples, which are drawn for all images together and computed for some at a time.
        """
        mean, log_var = self.encoder(image).chunk(2, -1)  # [M, Z] both
        log_weights = []
        for start in range(0, num_samples, 10):
            noise = self._noise(generator, min(10, num_samples - start), len(image))  # [k, M, Z]
            chunks = zip(*(tensor.split(CHUNK, -2) for tensor in (noise, mean, log_var, image)), strict=True)
            log_weights.append(torch.cat([self.log_weight(*chunk) for chunk in chunks], -1))  # [k, M]
        return math.log(num_samples) - torch.cat(log_weights).logsumexp(0).mean()

    def log_weight(self, noise: Tensor, mean: Tensor, log_var: Tensor, image: Tensor) -> Tensor:
        """Log p(image, latent) - log q(latent | image) of k samples for each of B images: [k, B]."""
        latent = mean + (log_var / 2).exp() * noise  # [k, B, Z]
        log_prior_ratio = (noise.square() + log_var - latent.square()).sum(-1) / 2  # [k, B] log p(z) - log q(z|x)
        return log_likelihood(self.decoder(latent), image) + log_prior_ratio

    def _noise(self, generator: torch.Generator, *size: int) -> Tensor:
        return torch.randn(*size, self.cfg.latent, generator=generator, device=self.device)  # [*size, Z]


def binarise(image: Tensor, generator: torch.Generator) -> Tensor:
    """Draw binary pixels whose means are the grey values: uint8 [B, C, H, W] -> float [B, D] of 0 and 1."""
    uniform = torch.randint(255, image.shape, generator=generator, device=image.device, dtype=torch.uint8)
    return (uniform < image).flatten(1).float()  # uniform is 0..254: true image times in 255


def log_likelihood(logits: Tensor, image: Tensor) -> Tensor:
    """Log p(image | latent) of Bernoulli pixels: [..., D] -> [...], in nats."""
    return (image * logits - softplus(logits)).sum(-1)


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)) summed over latents (appendix B): [B, Z] -> [B], in nats."""
    return (mean.square() + log_var.exp() - 1 - log_var).sum(-1) / 2
