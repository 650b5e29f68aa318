"""A video is encoded while it is played: little memory, the environment's own rate, nothing left behind."""

import io
import os
import stat
import sys
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from rlgen import video
from rlgen.video import Gif, Mp4, filming, shrunk

FFMPEG = f"""#!{sys.executable}
import sys
if "lavfi" in sys.argv:
    sys.exit({{probe}})
frames = sys.stdin.buffer.read()
open(sys.argv[-1], "wb").write(" ".join(sys.argv[1:]).encode() + b"|%d" % len(frames))
sys.exit({{code}})
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A program of that name on the path, which says what it was called with; the function makes it."""

    def make(probe=0, code=0):
        path = tmp_path / "bin" / "ffmpeg"
        path.parent.mkdir(exist_ok=True)
        path.write_text(FFMPEG.format(probe=probe, code=code))
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        video.encoder.cache_clear()
        return str(path)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield make
    video.encoder.cache_clear()


def square(i, size=(40, 60), side=8):
    """A frame with a red square that moves to the right."""
    frame = np.full((*size, 3), 255, np.uint8)
    frame[10 : 10 + side, i : i + side] = (200, 0, 0)
    return frame


def read(clip):
    """The frames of a GIF, as they are shown, and how long, in ms."""
    with Image.open(io.BytesIO(clip.data)) as gif:
        assert gif.info["loop"] == 0
        found = []
        for i in range(gif.n_frames):
            gif.seek(i)
            found.append((np.asarray(gif.convert("RGB")), gif.info["duration"]))
        return found


def gif(frames, fps):
    film = Gif(fps)
    for frame in frames:
        film.add(frame)
    return film.end()


def test_a_gif_shows_every_frame_as_it_is():
    frames = [square(i) for i in range(20)]
    found = read(gif(frames, 25))
    assert [shown for _, shown in found] == [40] * 20
    for (picture, _), frame in zip(found, frames, strict=True):
        assert np.abs(picture.astype(int) - frame).max() <= 8


@pytest.mark.parametrize(("fps", "shown"), [(30, 33.3), (50, 20), (15, 66.7), (60, 33.3), (125, 24), (1, 1000)])
def test_a_gif_plays_at_the_rate_of_the_environment(fps, shown):
    found = read(gif([square(i % 50) for i in range(60)], fps))
    every = 60 / len(found)
    assert found[0][1] >= 20, "browsers slow down what is faster"
    total = sum(duration for _, duration in found)
    assert total == pytest.approx(1000 * 60 / fps, abs=25) and total / len(found) == pytest.approx(shown, rel=0.05)
    assert every == (1 if fps <= 50 else np.ceil(fps / 50))


def test_frames_that_are_equal_are_one_that_is_shown_longer():
    found = read(gif([square(0)] * 5 + [square(9)] * 3, 10))
    assert [shown for _, shown in found] == [500, 300]


def test_a_gif_takes_little_time_and_memory():
    """500 frames once took 11 s and 1.3 GB."""
    frames = [square(i, (400, 600), 60) for i in range(0, 500, 10)]
    begin = time.process_time()
    clip = gif(frames * 10, 50)
    assert time.process_time() - begin < 3.0  # 0.6 s on an idle core
    assert len(clip.data) < 500_000
    tracemalloc.start()
    gif(frames * 2, 50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(("shape", "size"), [((400, 600, 3), (200, 134)), ((210, 160, 3), (160, 210))])
def test_frames_are_made_small_by_averaging(shape, size):
    frame = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    small = shrunk(frame, 240)
    assert small.size == size
    factor = shape[1] // size[0]
    assert np.abs(np.asarray(small)[0, 0] - frame[:factor, :factor].mean((0, 1))).max() <= 1


def test_without_an_encoder_it_is_a_gif(ffmpeg):
    ffmpeg(probe=1)
    with filming(50) as film:
        assert isinstance(film, Gif)


def test_where_ffmpeg_writes_mp4_it_is_one(ffmpeg, monkeypatch):
    path = ffmpeg()
    assert video.encoder() == path
    with filming(15) as film:
        for i in range(3):
            film.add(square(i, (401, 600)))
        clip = film.end()
    command, _, size = clip.data.decode().partition("|")
    assert clip.suffix == "mp4" and int(size) == 3 * 201 * 300 * 3
    assert "-s 300x201 -r 15 " in command and "libx264" in command
    assert not os.path.exists(command.split()[-1]), "nothing is left behind"


def test_an_encoder_that_fails_costs_the_video_alone(ffmpeg, capsys):
    path = ffmpeg(code=1)
    with filming(15) as film:
        film.add(square(0))
        assert film.end() is None
    assert capsys.readouterr().err == f"warning: {path} failed: there is no video of this evaluation\n"


def test_a_film_that_is_broken_off_leaves_nothing(ffmpeg):
    film = Mp4(15, ffmpeg())
    film.add(square(0))
    folder, process = film._folder.name, film._process
    film.abandon()
    assert process.poll() is not None and not os.path.exists(folder)
    film = Mp4(15, "no-such-program")
    film.add(square(0))
    assert film.end() is None
    film.abandon()


def test_a_clip_of_one_frame():
    clip = gif([square(0)], 50)
    assert clip.suffix == "gif" and [shown for _, shown in read(clip)] == [20]
