"""R3GAN's game: a GAN whose discriminator tells real from generated images in pairs, penalised on both.

Huang et al. 2024, "The GAN is dead; long live the GAN! A modern GAN baseline", arXiv:2501.05441: the relativistic
pairing loss (equation 2) with R1 and R2 (equation 3), at every step, and residual networks without normalisation.
"""

from dataclasses import dataclass
from typing import Literal

from generative import gan


@dataclass(frozen=True)
class Config(gan.Config):
    """The GAN's, with the loss of pairs, both penalties and residual blocks."""

    loss: Literal["non_saturating", "hinge", "least_squares", "wasserstein", "relativistic"] = (
        "relativistic"  # of both players; the default judges a real image beside a generated one
    )
    r2_gamma: float = 1.0  # weight of the same on generated images, in [0, inf)
    # fixed: other networks
    architecture: Literal["dcgan", "resnet"] = "resnet"  # strided convolutions, or residual blocks: smoother and slower


class R3GAN(gan.GAN):
    """GAN with the loss of pairs, R1 and R2."""

    Config = Config
