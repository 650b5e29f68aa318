"""A video of an episode, encoded frame by frame while it is played: mp4 where ffmpeg writes it, else a GIF."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops
from PIL.GifImagePlugin import getdata

from rlgen.text import warn

GIF_SIDE, MP4_SIDE = 240, 480  # pixels of a side, at most
FASTEST = 50  # frames a second of a GIF: browsers slow a delay under 20 ms down to 100 ms
REPEAT = b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"  # of a GIF: for ever
LIMIT = 60  # seconds that ffmpeg may take for its last frames


class Clip(NamedTuple):
    """An encoded video."""

    data: bytes
    suffix: str  # of its file, gif or mp4


class Film(Protocol):
    """What takes the frames of a video, one by one."""

    def add(self, frame: NDArray[np.uint8]) -> None:
        """The next frame, [H, W, 3]; all are of one size."""

    def end(self) -> Clip | None:
        """The whole video; None where it could not be encoded."""

    def abandon(self) -> None:
        """Leave nothing behind."""


@contextlib.contextmanager
def filming(fps: float) -> Iterator[Film]:
    """A film of frames that follow each other `fps` times a second; nothing is left of one that is not ended."""
    program = encoder()
    film: Film = Gif(fps) if program is None else Mp4(fps, program)
    try:
        yield film
    finally:
        film.abandon()


class Gif:
    """A GIF in memory. Of a frame it holds what differs from the one before, with colours of its own."""

    def __init__(self, fps: float) -> None:
        self._every = math.ceil(fps / FASTEST)  # frames, of which one is kept
        self._period = 100 * self._every / fps  # hundredths of a second, which the format counts in
        self._seen = self._kept = self._time = 0  # frames; hundredths of a second of what is written
        self._last: Image.Image | None = None
        self._waiting: tuple[Image.Image, tuple[int, int]] | None = None  # until it is known how long it is shown
        self._file = io.BytesIO()

    def add(self, frame: NDArray[np.uint8]) -> None:
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        image = shrunk(frame, GIF_SIDE)
        if self._last is None:
            self._file.write(b"GIF89a" + struct.pack("<HHBBB", *image.size, 0, 0, 0) + REPEAT)
            box: tuple[int, int, int, int] | None = (0, 0, *image.size)
        else:
            box = ImageChops.difference(image, self._last).getbbox()
        if box:
            self._write()
            part = image.crop(box)
            colours = 256 if 4 * math.prod(part.size) > math.prod(image.size) else 64  # 3 bytes each
            self._waiting = part.quantize(colours, Image.Quantize.FASTOCTREE), box[:2]
            self._last = image
        self._kept += 1

    def _write(self) -> None:
        """Write what waits: it was shown until now."""
        if self._waiting:
            shown = round(self._kept * self._period) - self._time
            self._time += shown
            image, corner = self._waiting
            self._file.writelines(getdata(image, corner, duration=10 * shown, include_color_table=True))

    def end(self) -> Clip:
        self._write()
        return Clip(self._file.getvalue() + b";", "gif")

    def abandon(self) -> None:
        pass


class Mp4:
    """What ffmpeg makes of the frames that it reads, in a temporary file."""

    def __init__(self, fps: float, program: str) -> None:
        self._fps, self._program = fps, program
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "episode.mp4"
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, frame: NDArray[np.uint8]) -> None:
        image = shrunk(frame, MP4_SIDE)
        with contextlib.suppress(OSError):  # it is gone, or has ended: `end` will say so
            self._process = self._process or self._start(image.size)
            assert self._process.stdin is not None
            self._process.stdin.write(image.tobytes())

    def _start(self, size: tuple[int, int]) -> subprocess.Popen[bytes]:
        frames = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*size), "-r", str(self._fps), "-i", "-"]
        even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]  # which browsers need
        command = [*quiet(self._program), *frames, *even, *H264, "-movflags", "+faststart", str(self._path)]
        nowhere = subprocess.DEVNULL
        # a session of its own: Ctrl-C is for the run, which ends it
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True)

    def end(self) -> Clip | None:
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            if self._process:
                self._process.communicate(timeout=LIMIT)
                if self._process.returncode == 0:
                    return Clip(self._path.read_bytes(), "mp4")
        warn(f"{self._program} failed: there is no video of this evaluation")
        return None

    def abandon(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()


H264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "1"]


def quiet(program: str) -> list[str]:
    """How ffmpeg is called."""
    return [program, "-loglevel", "error", "-nostdin", "-y"]


@cache
def encoder() -> str | None:
    """An ffmpeg that writes H.264, which every browser plays: on the path, or that of imageio-ffmpeg; tried once."""
    found = [shutil.which("ffmpeg")]
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg  # type: ignore[import-not-found]

        with contextlib.suppress(RuntimeError):  # it has none for this machine
            found.append(imageio_ffmpeg.get_ffmpeg_exe())
    black = ["-f", "lavfi", "-i", "color=size=16x16:duration=0.1", *H264, "-f", "null", "-"]
    for program in filter(None, found):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if subprocess.run([*quiet(program), *black], capture_output=True, timeout=LIMIT).returncode == 0:
                return program
    return None


def shrunk(frame: NDArray[np.uint8], side: int) -> Image.Image:
    """A frame [H, W, 3], blocks of k x k pixels averaged, k the smallest that makes no side longer than `side`."""
    image = Image.fromarray(frame)
    factor = math.ceil(max(image.size) / side)
    return image if factor == 1 else image.reduce(factor)
