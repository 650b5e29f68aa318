"""Plain PyTorch's VAE and GAN, with the hyperparameters of the work they are timed on: those of pytorch/examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgen.bench import noise
from rlgen.bench.measure import Block
from rlgen.bench.peers.counter import Counter
from rlgen.bench.peers.eager import net
from rlgen.bench.works import Work


def _loader(config: dict[str, Any], work: Work, low: float = 0.0) -> Iterator[list[Tensor]]:
    data = torch.from_numpy(noise.images(work.shape).train).float() / 255 * (1 - low) + low
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(data), batch_size=config["batch_size"], shuffle=True, drop_last=True
    )
    while True:
        yield from loader


def autoencoder(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """pytorch/examples' vae: a DataLoader of float images, summed binary cross-entropy, `.item()` every step."""
    sizes, latent, device = [int(np.prod(work.shape)), *config["hidden"]], config["latent"], config["device"]
    encoder, decoder = net([*sizes, 2 * latent]).to(device), net([latent, *sizes[::-1]]).to(device)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=config["lr"])
    batches, total = _loader(config, work), 0.0

    def step(block: Counter) -> int:
        nonlocal total
        image = next(batches)[0].to(device).view(-1, sizes[0])
        mean, log_var = encoder(image).chunk(2, 1)
        decoded = torch.sigmoid(decoder(mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)))
        loss = functional.binary_cross_entropy(decoded, image, reduction="sum")
        loss = loss - 0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
        optimizer.zero_grad()
        loss.backward()
        total += loss.item()
        optimizer.step()
        block.updates += 1
        return len(image)

    return Counter(step, "image", device)


def adversarial(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """pytorch/examples' dcgan at 32 x 32, batch normalisation and all: not our networks, but the usual ones."""
    width, latent, device = config["width"], config["latent"], config["device"]

    def up(num_in: int, num_out: int, stride: int = 2, padding: int = 1) -> list[nn.Module]:
        conv = nn.ConvTranspose2d(num_in, num_out, 4, stride, padding, bias=False)
        return [conv, nn.BatchNorm2d(num_out), nn.ReLU(True)]

    def down(num_in: int, num_out: int) -> list[nn.Module]:
        conv = nn.Conv2d(num_in, num_out, 4, 2, 1, bias=False)
        return [conv, nn.BatchNorm2d(num_out), nn.LeakyReLU(0.2, inplace=True)]

    head = [nn.ConvTranspose2d(width, work.shape[0], 4, 2, 1, bias=False), nn.Tanh()]
    g = nn.Sequential(*up(latent, 4 * width, 1, 0), *up(4 * width, 2 * width), *up(2 * width, width), *head).to(device)
    first = [nn.Conv2d(work.shape[0], width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    last = [nn.Conv2d(4 * width, 1, 4, 1, 0, bias=False), nn.Sigmoid(), nn.Flatten(0)]
    d = nn.Sequential(*first, *down(width, 2 * width), *down(2 * width, 4 * width), *last).to(device)
    g_optimizer = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_optimizer = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    batches, criterion = _loader(config, work, low=-1.0), nn.BCELoss()

    def step(block: Counter) -> int:
        d.zero_grad()
        real = next(batches)[0].to(device)
        real_loss = criterion(d(real), torch.ones(len(real), device=device))
        real_loss.backward()
        fake = g(torch.randn(len(real), latent, 1, 1, device=device))
        fake_loss = criterion(d(fake.detach()), torch.zeros(len(real), device=device))
        fake_loss.backward()
        d_optimizer.step()
        g.zero_grad()
        g_loss = criterion(d(fake), torch.ones(len(real), device=device))
        g_loss.backward()
        g_optimizer.step()
        (real_loss + fake_loss).item(), g_loss.item()
        block.updates += 1
        return len(real)

    return Counter(step, "image", device)
