"""`rlgen preview`: what was read, as a line and as a picture."""

import numpy as np
from image_files import save_images
from PIL import Image

from rlgen.commands import main


def test_what_a_model_would_see_is_drawn(tmp_path, capsys):
    for seed, (label, size) in enumerate((("cat", (9, 6)), ("dog", (6, 8)))):
        save_images(tmp_path / "photos" / label, 20, size=size, seed=seed)
    out = tmp_path / "grid.png"
    words = ["preview", str(tmp_path / "photos"), "--image-size", "4", "--num", "16", "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "1 held-out image, 4x4, colour, 2 classes; images of 2 sizes are resized and cropped" in printed
    assert f"16 training images in {out}" in printed
    with Image.open(out) as picture:
        assert picture.mode == "RGB" and picture.size[0] == picture.size[1] > 100 and np.asarray(picture).std() > 20
    assert main([*words[:-1], str(tmp_path / "nowhere" / "x.png")]) == 2
    assert main(["preview", str(tmp_path / "photos"), "--out", str(out)]) == 2
    assert "--image-size 4 resizes and crops them all" in capsys.readouterr().err
