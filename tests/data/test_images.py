from dataclasses import replace

import numpy as np

from rlgen.data.images import ImageData


def test_a_digest_is_of_all_images_and_labels():
    image = np.arange(24, dtype=np.uint8).reshape(2, 1, 4, 3)
    label = np.array([0, 1])
    data = ImageData("toy", image, image[:1], label, label[:1], 2, "memory", {})
    assert data.digest() == replace(data, train=image.copy(), name="other", source="elsewhere").digest()
    others = [
        replace(data, train=image[::-1]),
        replace(data, test=image[1:]),
        replace(data, train_label=label[::-1]),
        replace(data, test_label=None),
        replace(data, train=image.reshape(2, 1, 3, 4)),
    ]
    assert len({data.digest(), *(other.digest() for other in others)}) == 6


def test_one_is_not_written_as_many():
    image, label = np.zeros((3, 1, 4, 5), np.uint8), np.array([0, 1, 1])
    data = ImageData("toy", image, image[:1], label, label[:1], 1, "memory", {})
    assert data.about() == "data toy: 3 training and 1 held-out image, 5x4, grey, 1 class"
    more = replace(data, test=image, num_classes=2)
    assert more.about() == "data toy: 3 training and 3 held-out images, 5x4, grey, 2 classes"
