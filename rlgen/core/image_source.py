"""Where images come from: an ImageSource fills the buffer once, and says how good a model of them is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.buffer import Buffer
from rlgen.core.form import check_form
from rlgen.core.interruption import ask_between_layers, never
from rlgen.core.learner import Generative, Learner
from rlgen.core.vital import of_samples
from rlgen.data.images import ImageData, ImageSpec
from rlgen.features.find import net_for
from rlgen.features.judge import LEAST, Judge, asked_labels, drawn, in_shares
from rlgen.metrics import EVAL_IMAGES, LAST_SAMPLES, SAMPLE_SEED, subset
from rlgen.pictures import grid

SCORINGS = 10  # of samples in a run at most, beside the last one, however often it is evaluated


class ImageSource:
    """A data set, resident on the device as uint8; training never touches its held-out images.

    Args:
        data: training and held-out images (the split `val` where there is one), uint8 [N, C, H, W].
        device: where they live.
        eval_samples: images of a model that are compared with held-out ones while it trains; 0 compares none, ever.
    """

    restores, restores_why = "exact", ""
    streams = False

    def __init__(self, data: ImageData, device: torch.device, eval_samples: int = 0) -> None:
        self.data, self.device, self.eval_samples = data, device, eval_samples
        self.last_samples = max(LAST_SAMPLES, eval_samples)  # that the last evaluation compares
        num_classes, classes = None if data.train_label is None else data.num_classes, None
        if data.train_label is not None and len(occur := np.unique(data.train_label)) < (num_classes or 0):
            classes = tuple(occur.tolist())
        self.spec = ImageSpec(data.train.shape[1:], num_classes, data.digest(), classes)
        self._scored = -1  # the tenth of the run in which samples were compared last

    def fill(self, buffer: Buffer, learner: Learner) -> int:
        """Put the data set into the buffer, once; every fill ticks the images that the next batch draws."""
        if len(buffer) == 0:
            items = {"image": torch.from_numpy(self.data.train)}
            if self.data.train_label is not None:
                items["label"] = torch.from_numpy(self.data.train_label)
            buffer.add(items)
        return learner.rows_per_turn

    def metrics(self) -> dict[str, float]:
        """Nothing: a data set does not change."""
        return {}

    @cached_property
    def judge(self) -> Judge | None:
        """What samples are compared with; None where none are compared, or too few images are held out."""
        if min(self.eval_samples, len(self.data.test)) < LEAST:  # before a network is trained for them
            return None
        data = self.data
        return Judge(data.train, data.test, net_for(data), self.device, data.train_label, data.test_label)

    def judged(self) -> dict[str, Any] | None:
        """What makes scores of samples comparable, for config.json: the features, and how many images are compared."""
        if self.judge is None:
            return None
        counts = {"samples": self.judge.count(self.eval_samples), "at_end": self.judge.count(self.last_samples)}
        return {"features": self.judge.net.name, "sha256": self.judge.net.digest()} | counts

    def evaluate(
        self, learner: Generative, final: bool = False, interrupted: Callable[[], bool] = never
    ) -> dict[str, Any]:
        """Held-out metrics, scores of samples, samples from the same latents every time, and reconstructions.

        Samples are of the average of the weights, where there is one, and beside them those of the weights that train.

        While a run goes on these are metrics of the first 1,000 held-out images, and scores of `eval_samples` samples
        once in a tenth of the run. The last evaluation has those of all held-out images and of 10,000 samples under the
        same names, and beside them those of fewer, which are what earlier ones compare with.
        """
        with ask_between_layers(learner, interrupted):
            result = self._evaluate(learner, final)
            tenth = int(learner.progress * SCORINGS)
            if final or tenth != self._scored:
                result |= self.score_samples(learner, final, interrupted)
                self._scored = tenth
        return result

    def _evaluate(self, learner: Generative, final: bool) -> dict[str, Any]:
        images = torch.from_numpy(self.data.test)
        first = images[:EVAL_IMAGES]
        result: dict[str, Any] = self.score(learner, first)
        if final and len(images) > len(first):
            result = self.score(learner, images) | renamed(result, EVAL_IMAGES)
        result |= of_samples(learner, first)
        kinds = len(learner.kinds) or 1
        shown = 8 * (min(kinds, 16) if kinds > 1 else 8)  # of several classes a row each
        by = {"grid": {}, "raw": {"ema": False}} if learner.averages else {"grid": {}}  # of the same latents
        for name, options in by.items():
            samples = learner.sample(shown, seed=0, **options)
            result[f"samples/{name}"] = np.asarray(grid(samples.numpy(force=True), columns=8))
        reconstructed = learner.reconstruct(first[:32].to(learner.device))
        if reconstructed is not None:
            pairs = torch.stack([first[:32] / 255, reconstructed.cpu()], dim=1).flatten(0, 1)  # [2 B, C, H, W]
            result["samples/reconstructions"] = np.asarray(grid(pairs.numpy(), columns=8))
        return result

    def score(self, learner: Generative, images: Tensor) -> dict[str, float]:
        """The learner's metrics of a whole set of images [M, C, H, W] uint8."""
        return {name: value.item() for name, value in learner.evaluate(images.to(learner.device)).items()}

    def score_samples(
        self, learner: Generative, final: bool = True, interrupted: Callable[[], bool] = never
    ) -> dict[str, float]:
        """How far samples are from held-out images, as `rlgen.features.judge` says; the same samples every time.

        Args:
            learner: whose samples.
            final: of 10,000 samples, also against the training images, and beside that of as many as before.
            interrupted: asked now and then.
        """
        if self.judge is None:
            return {}
        few, many = self.judge.count(self.eval_samples), self.judge.count(self.last_samples)
        with ask_between_layers(self.judge.net, interrupted):
            images, asked = self.samples(learner, many if final else few)
            scores, floor = self.judge.scores(images, final, asked), self.judge.floor(len(images))
            found = self.named(scores | {f"floor/{name}": floor[name] for name in floor.keys() & scores.keys()})
            if final and few < many:
                images, asked = self.samples(learner, few)
                found |= renamed(self.named(self.judge.scores(images, asked=asked)), few)
        return found

    def samples(self, learner: Generative, num: int) -> tuple[Tensor, Tensor | None]:
        """Samples for scores, and the labels that they were asked for: as likely as among training images."""
        labels = self.data.train_label
        if learner.num_classes is None or labels is None:
            return drawn(learner.sample, num, SAMPLE_SEED), None
        return drawn(in_shares(learner.sample, labels), num, SAMPLE_SEED), asked_labels(labels, num, SAMPLE_SEED)

    def named(self, scores: dict[str, float]) -> dict[str, float]:
        """Scores under the names of metrics, those by features with the name of their network."""
        ending = f"_{self.judge.net.name}" if self.judge else ""
        return {f"eval/{name}{'' if name.endswith('swd') else ending}": value for name, value in scores.items()}

    def state_dict(self) -> dict[str, Any]:
        """When samples were compared last: the data set is refilled from its files."""
        return {"scored": self._scored}

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Put it back; a checkpoint from before has nothing."""
        check_form(state, self.state_dict(), "source")
        self._scored = state.get("scored", -1)
        return True

    def close(self) -> None:
        """Nothing to stop."""


def renamed(metrics: dict[str, float], num: int) -> dict[str, float]:
    """Metrics of the first `num` images under names that say so."""
    return {name.replace("eval/", subset(num), 1): value for name, value in metrics.items()}
