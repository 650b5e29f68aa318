"""Learning runs of minutes with the default settings: what README promises, on seeds that its tables do not use.

`python tests/core/test_learning.py RUN...` prints the shares of the ten classes in 2,000 samples of trained GANs.
"""

import os
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from rlgen import experiment, inference
from rlgen.data.images import ImageData
from rlgen.data.load import load as load_images
from rlgen.nets.perceptron import mlp
from rlgen.runs.find import find
from rlgen.runs.run import Run

pytestmark = pytest.mark.slow


def classify(data: ImageData, images: torch.Tensor, num_updates: int = 1500) -> tuple[torch.Tensor, float]:
    """Labels that a small classifier, trained here on the training images, gives to images [B, C, H, W] in [0, 1].

    Returns:
        The labels, [B], and the classifier's accuracy on the held-out images.
    """
    torch.manual_seed(0)
    train = torch.from_numpy(data.train).flatten(1).float() / 255
    test = torch.from_numpy(data.test).flatten(1).float() / 255
    label = torch.from_numpy(data.train_label)
    net = mlp([train.shape[1], 256, 10])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(num_updates):
        index = torch.randint(len(train), (128,))
        loss = cross_entropy(net(train[index]), label[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (net(test).argmax(-1) == torch.from_numpy(data.test_label)).float().mean().item()
        return net(images.flatten(1)).argmax(-1), accuracy


@pytest.mark.parametrize("algo", ["dqn", "double_dqn", "ppo", "pqn", "reinforce"])
def test_cartpole_is_solved_with_default_settings(algo: str, tmp_path: Path) -> None:
    returns = []
    for seed in (200, 201, 202):
        run = experiment.train(algo, quiet=True, seed=seed, runs_dir=str(tmp_path), wandb="disabled", threads=1)
        returns.append(inference.evaluate(run.path, episodes=100)["episodic_return"]["mean"])
    assert sorted(returns)[1] >= 475, returns  # the median seed


@pytest.mark.parametrize(("data", "least_accuracy"), [("digits", 0.93), ("fashion-mnist", 0.83)])
def test_gan_samples_hold_all_ten_classes(data: str, least_accuracy: float, tmp_path: Path) -> None:
    if data == "fashion-mnist" and not os.environ.get("RLGEN_DATA"):
        pytest.skip("needs the Fashion-MNIST files: set RLGEN_DATA")
    run = experiment.train("gan", quiet=True, data=data, seed=200, runs_dir=str(tmp_path), wandb="disabled", threads=1)
    samples = inference.load(run.path).sample(2000, seed=0)
    labels, accuracy = classify(load_images(data), samples)
    shares = torch.bincount(labels, minlength=10) / len(labels)
    assert accuracy > least_accuracy, "a classifier that knows the classes"
    assert shares.min() > 0.02 and shares.max() < 0.3, shares


@pytest.mark.parametrize("data", ["digits", "fashion-mnist"])
def test_vae_bounds_beat_independent_pixels(data: str, tmp_path: Path) -> None:
    """It gets a quarter of the way at least from pixels on their own to the noise of binarisation, which none passes.

    This once asked for less than 0.8 of the former: for `digits` 21.7 nats, where the tuned model reaches 23.4.
    """
    if data == "fashion-mnist" and not os.environ.get("RLGEN_DATA"):
        pytest.skip("needs the Fashion-MNIST files: set RLGEN_DATA")
    images = load_images(data)
    mean = (torch.from_numpy(images.train).float() / 255).mean(0).clamp(0.001, 0.999)
    test = torch.from_numpy(images.test).float() / 255
    independent = -(test * mean.log() + (1 - test) * (1 - mean).log()).sum((1, 2, 3)).mean().item()
    noise = -(test.xlogy(test) + (1 - test).xlogy(1 - test)).sum((1, 2, 3)).mean().item()
    run = experiment.train(
        "vae", quiet=True, data=data, seed=200, steps=200_000, runs_dir=str(tmp_path), wandb="disabled", threads=1
    )
    result = inference.evaluate(run.path)
    assert noise < result["nll"] < -result["elbo"] < independent - 0.25 * (independent - noise)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        data = load_images(Run.open(find(name)).config["data"])
        labels, accuracy = classify(data, inference.load(name).sample(2000, seed=0))
        print(name, f"accuracy {accuracy:.3f}, shares", (torch.bincount(labels, minlength=10) / len(labels)).tolist())
