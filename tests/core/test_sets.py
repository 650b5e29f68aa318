"""Sets of images are judged as sets: no metric depends on how they are cut into chunks, or counts a sample twice."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny
from torch import Tensor

from generative import gan, vae
from rlgen import experiment, inference
from rlgen.core.batch import Batch
from rlgen.core.image_source import ImageSource
from rlgen.core.learner import Generative
from rlgen.data.images import ImageData, ImageSpec
from rlgen.runs.rows import read_metrics

CPU = torch.device("cpu")
SHAPE = (1, 4, 4)


def images_of(num: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """Random grey images, uint8 [num, C, H, W]."""
    return torch.randint(256, (num, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def source_of(test: Tensor) -> ImageSource:
    return ImageSource(ImageData("toy", images_of(8).numpy(), test.numpy(), None, None, None, "memory", ""), CPU)


# VAE


def make_vae(nll_samples: int = 25) -> vae.VAE:
    """With weights so large that latents differ and matter."""
    torch.manual_seed(0)
    learner = vae.VAE(vae.Config(hidden=(16,), latent=3, nll_samples=nll_samples), ImageSpec(SHAPE))
    with torch.no_grad():
        learner.encoder[-1].weight.mul_(4)
        learner.decoder[-1].weight.mul_(4)
    return learner


class Watched(vae.VAE):
    """Keeps the noise of every image, and its binary pixels, as the chunks got them."""

    def log_weight(self, noise: Tensor, mean: Tensor, log_var: Tensor, image: Tensor) -> Tensor:
        self.chunks.append((noise, image))
        return super().log_weight(noise, mean, log_var, image)

    def watch(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of the importance samples [K, M, Z], and pixels [M, D], of an evaluation."""
        self.chunks: list[tuple[Tensor, Tensor]] = []
        self.evaluate(images)
        per_block = math.ceil(len(images) / vae.CHUNK)  # chunks that share a block of samples
        noise, image = (
            [torch.cat(column[i : i + per_block], dim) for i in range(0, len(column), per_block)]
            for column, dim in zip(zip(*self.chunks, strict=True), (1, 0), strict=True)
        )
        return torch.cat(noise), image[0]


def watched() -> Watched:
    torch.manual_seed(0)
    return Watched(vae.Config(hidden=(8,), latent=2, nll_samples=25), ImageSpec(SHAPE))


def test_a_vae_is_worth_the_same_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, images, found = make_vae(), images_of(1010), []
    for chunk in (7, 100, 500, 5000):
        monkeypatch.setattr(vae, "CHUNK", chunk)
        found.append({name: value.item() for name, value in learner.evaluate(images).items()})
    for metrics in found[1:]:
        assert metrics == pytest.approx(found[0], rel=1e-5)
    assert found[0].keys() >= {"eval/nll", "eval/elbo", "eval/active_units"}


def test_the_noise_of_an_image_does_not_depend_on_its_place_in_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, images = watched(), images_of(1010)
    seen = []
    for chunk in (7, 500, 5000):
        monkeypatch.setattr(vae, "CHUNK", chunk)
        seen.append(learner.watch(images))
    for noise, pixels in seen:
        assert noise.shape == (25, 1010, 2)
        assert torch.equal(noise, seen[0][0]) and torch.equal(pixels, seen[0][1])


@pytest.mark.parametrize("half", [500, 505, 1000])
def test_an_image_that_is_there_twice_gets_noise_of_its_own_each_time(half: int) -> None:
    """Every chunk of 500 once began with the same seed, so image 500 had the noise of image 0."""
    noise, pixels = watched().watch(images_of(half).repeat(2, 1, 1, 1))
    for values in (noise.flatten(1), noise[:, :, 0].T):  # over samples, over images
        assert len(values.unique(dim=0)) == len(values)
    first, second = noise.split(half, 1)
    assert (first != second).all()
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.05
    assert (pixels[:half] != pixels[half:]).any(1).float().mean() > 0.9, "binary pixels are drawn anew"


def test_nll_is_that_of_all_samples_at_once() -> None:
    learner, images = make_vae(nll_samples=30), images_of(1010)
    found = learner.evaluate(images)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        image = vae.binarise(images, generator)
        mean, log_var = learner.encoder(image).chunk(2, -1)
        noise = torch.randn(1010, 3, generator=generator)  # of the ELBO
        latent = mean + (log_var / 2).exp() * noise
        elbo = (vae.log_likelihood(learner.decoder(latent), image) - vae.kl_to_standard_normal(mean, log_var)).mean()
        log_weights = []
        for _ in range(3):  # ten samples at a time
            noise = torch.randn(10, 1010, 3, generator=generator)
            latent = mean + (log_var / 2).exp() * noise
            prior, posterior = (
                torch.distributions.Normal(*at).log_prob(latent).sum(-1)
                for at in ((torch.zeros(()), torch.ones(())), (mean, (log_var / 2).exp()))
            )
            pixels = torch.distributions.Bernoulli(logits=learner.decoder(latent)).log_prob(image).sum(-1)
            log_weights.append(prior + pixels - posterior)
        nll = -(torch.cat(log_weights).exp().mean(0).log()).mean()
    assert found["eval/elbo"].item() == pytest.approx(elbo.item(), rel=1e-5)
    assert found["eval/nll"].item() == pytest.approx(nll.item(), rel=1e-4)


def test_active_units_are_those_of_the_whole_set() -> None:
    """Where equal images lie together no chunk varies, and the set does."""
    learner = make_vae()
    images = torch.cat([torch.zeros(500, *SHAPE, dtype=torch.uint8), torch.full((500, *SHAPE), 255, dtype=torch.uint8)])
    assert learner.evaluate(images)["eval/active_units"] == 3
    assert learner.evaluate(images[:500])["eval/active_units"] == 0


# GAN


def test_a_gan_is_judged_by_as_many_different_samples_as_there_are_images(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    learner = gan.GAN(gan.Config(width=4, num_hidden=8, latent=3), ImageSpec((1, 8, 8)))
    images, seen = images_of(1010, shape=(1, 8, 8)), []
    forward = learner.d.forward
    monkeypatch.setattr(learner.d, "forward", lambda image: seen.append(image) or forward(image))
    metrics = learner.evaluate(images)
    monkeypatch.undo()

    scored = torch.cat(seen)
    real, fake = scored[:1010], scored[1010:]
    assert torch.equal(real, images / 127.5 - 1)
    assert fake.shape == real.shape
    assert len(fake.flatten(1).unique(dim=0)) == 1010, "no sample is scored twice"
    assert max(map(len, seen)) <= 500, "the memory of feature maps is bounded"

    with torch.no_grad():  # one image at a time
        latent = torch.randn(1010, 3, generator=torch.Generator().manual_seed(0))
        fakes = [learner.d(learner.g_ema(each[None])).item() for each in latent]
        reals = [learner.d(each[None] / 127.5 - 1).item() for each in images]
    expected = {"eval/d_real": np.mean(reals), "eval/d_fake": np.mean(fakes)}
    expected["eval/d_gap"] = expected["eval/d_real"] - expected["eval/d_fake"]
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected, abs=1e-5)
    assert np.std(fakes) > 1e-3


# Any model


class Kinds(Generative):
    """Counts how many different images there are: a metric that no mean over chunks gives."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace())
        self.sizes: list[int] = []

    def evaluate(self, images: Tensor) -> Batch:
        self.sizes.append(len(images))
        return {"eval/kinds": torch.tensor(float(len(images.unique(dim=0)))), "eval/nll": images.float().mean()}

    def sample(self, num: int, seed: int | None = None) -> Tensor:
        return torch.zeros(num, *SHAPE)


def counted(num: int) -> Tensor:
    """Image i shows i modulo 300 in two of its pixels."""
    number = torch.arange(num) % 300
    images = torch.zeros(num, *SHAPE, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = number % 256, number // 256
    return images


def test_a_metric_of_a_set_is_computed_over_the_whole_set() -> None:
    learner, images = Kinds(), counted(1300)
    source = source_of(images)
    during, last = source.evaluate(learner), source.evaluate(learner, final=True)
    assert during["eval/kinds"] == last["eval/kinds"] == 300, "no sum over chunks"
    assert learner.sizes == [1000, 1000, 1300]
    assert source.score(learner, images[:200]) == {"eval/kinds": 200, "eval/nll": images[:200].float().mean().item()}


def test_the_last_evaluation_is_of_all_images_and_keeps_that_of_the_first_thousand() -> None:
    learner, images = Kinds(), counted(1300)
    source = source_of(images)
    during, last = (
        {n: v for n, v in source.evaluate(learner, final).items() if "eval" in n} for final in (False, True)
    )
    first, whole = images[:1000].float().mean().item(), images.float().mean().item()
    assert first != whole
    assert during == {"eval/kinds": 300, "eval/nll": first}
    assert last == {"eval/kinds": 300, "eval/nll": whole, "eval/first_1000/kinds": 300, "eval/first_1000/nll": first}


@pytest.mark.parametrize("num", [40, 1000])
def test_a_set_of_a_thousand_images_has_nothing_beside_it(num: int) -> None:
    learner = Kinds()
    source = source_of(counted(num))
    during, last = source.evaluate(learner), source.evaluate(learner, final=True)
    assert {name for name in last if "eval" in name} == {"eval/kinds", "eval/nll"}
    assert {name: last[name] for name in ("eval/kinds", "eval/nll")} == {
        name: during[name] for name in ("eval/kinds", "eval/nll")
    }
    assert learner.sizes == [num, num], "and is not evaluated twice"


def test_a_run_reports_the_subset_till_its_end_and_then_both(tmp_path: Path) -> None:
    test = images_of(1300, 2)
    test[1000:] //= 4  # darker ones, so that the metrics of both sets differ
    data = {"images": images_of(60, 1), "test_images": test}
    np.savez(tmp_path / "toy.npz", **{name: value.numpy().transpose(0, 2, 3, 1) for name, value in data.items()})
    config: Any = tiny("vae", tmp_path, data=str(tmp_path / "toy.npz"), steps=320, eval_every=160)
    run = experiment.start(config, quiet=True)
    rows = [row for row in read_metrics(run.path) if "eval/nll" in row]
    assert len(rows) == 2
    assert not any(name.startswith("eval/first") for name in rows[0])
    learner: Any = inference.load(run.path)
    for name, images in (("eval/nll", test), ("eval/first_1000/nll", test[:1000])):
        assert rows[1][name] == pytest.approx(learner.evaluate(images)["eval/nll"].item(), rel=1e-5)
    assert rows[1]["eval/nll"] != pytest.approx(rows[1]["eval/first_1000/nll"], rel=1e-3)
    assert inference.evaluate(run.path)["nll"] == pytest.approx(rows[1]["eval/nll"], rel=1e-5), "of all images"
