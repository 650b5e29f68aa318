"""pythae as a contender."""

from __future__ import annotations

import contextlib
import io
import tempfile
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.bench import noise
from rlgen.bench.measure import Block
from rlgen.bench.peers.counter import Counter
from rlgen.bench.peers.eager import net
from rlgen.bench.works import Work


def autoencoder(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """The trainer of pythae, an epoch of ten batches at a time, with networks of our size."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as Model
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    sizes, latent, device = [int(np.prod(work.shape)), *config["hidden"]], config["latent"], config["device"]

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseEncoder.__init__(self)
            self.layers = net([*sizes, 2 * latent])

        def forward(self, image: Tensor) -> Any:
            mean, log_var = self.layers(image.flatten(1)).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseDecoder.__init__(self)
            self.layers = net([latent, *sizes[::-1]])

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).sigmoid().view(-1, *work.shape))

    settings = VAEConfig(input_dim=work.shape, latent_dim=latent, reconstruction_loss="bce")
    data = torch.from_numpy(noise.images(work.shape, 10 * config["batch_size"]).train).float() / 255
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    training = BaseTrainerConfig(
        output_dir=folder,
        per_device_train_batch_size=config["batch_size"],
        learning_rate=config["lr"],
        no_cuda=device == "cpu",
    )
    trainer = BaseTrainer(
        model=Model(settings, encoder=Encoder(), decoder=Decoder()),
        train_dataset=BaseDataset(data, torch.zeros(len(data))),
        training_config=training,
    )
    trainer.prepare_training()

    def step(block: Counter) -> int:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            trainer.train_step(epoch=1)
        block.updates += 10
        return len(data)

    return Counter(step, "image", device)
