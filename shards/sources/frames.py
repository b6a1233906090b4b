"""A folder of numbered images, read as a video: the frames in natural order on a constant timeline."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError

from shards.errors import SampleError
from shards.sources.probe import MAX_PIXELS

CODECS = {"jpg": "mjpeg", "jpeg": "mjpeg", "png": "png", "bmp": "bmp", "webp": "webp"}
"""File ending -> decoder. Other files in a folder are left alone."""
_FLOW = re.compile(r"(flow|opt(ical)?_?flow|[xyuv])[_-]", re.IGNORECASE)
"""What names of optical-flow images begin with, in the tools that write them beside the frames."""
_SHOWN = 3


class FrameFolder:
    """Images of one clip; to the transcoder it looks as an open video does, every error being a SampleError."""

    def __init__(self, key: str, folder: Path, rate: Fraction, pattern: str = "") -> None:
        """Find the images. SampleError `empty_folder`, or `mixed_names` when they are of more than one series."""
        self.key, self.rate = key, rate
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
        self.files = image_names(key, names, str(folder), pattern)
        self.folder = folder
        self.codec = CODECS[_ending(self.files[0])]

    def frames(self, start: float | None = None) -> Iterator[av.VideoFrame]:
        """Yield every frame, with `start` (seconds) from the first one that is not before it."""
        first = max(0, int((start or 0.0) * self.rate) - 1)
        size: tuple[int, int] | None = None
        for index, name in list(enumerate(self.files))[first:]:
            frame = self._decode(name)
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                detail = f"{name} is {frame.width}x{frame.height}, the first image {size[0]}x{size[1]}"
                raise SampleError(self.key, "mixed_sizes", detail)
            frame.pts, frame.time_base = index, 1 / self.rate
            yield frame

    def time(self, frame: av.VideoFrame, index: int) -> float:
        """Give the time of a frame in seconds from the first image."""
        return float((index if frame.pts is None else frame.pts) / self.rate)

    def _decode(self, name: str) -> av.VideoFrame:
        """Decode one image with a decoder of its own: nothing of a bad image reaches the next."""
        context = av.CodecContext.create(CODECS[_ending(name)], "r")
        context.thread_count = 1
        context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
        try:
            data = (self.folder / name).read_bytes()
            frames = [*context.decode(av.Packet(data)), *context.decode(None)] if data else []
        except (FFmpegError, ValueError, OSError) as error:
            raise SampleError(self.key, "decode_error", f"{name}: {error}") from error
        if len(frames) != 1 or not isinstance(frames[0], av.VideoFrame) or frames[0].is_corrupt:
            raise SampleError(self.key, "decode_error", f"{name}: no sound image in {len(data)} bytes")
        return frames[0]


def image_names(key: str, names: Sequence[str], where: str, pattern: str = "") -> list[str]:
    """Pick the images among file names and put them in natural order (2 before 10).

    pattern: takes only such names (`img_*.jpg`). Optical flow beside one series of images is left alone.
    SampleError: `empty_folder`; `mixed_names` when the names differ in more than their numbers: nobody can say which
    of them is the video.
    """
    images = (name for name in names if _ending(name) in CODECS and not name.startswith("."))
    found = sorted((name for name in images if not pattern or fnmatchcase(name, pattern)), key=_natural)
    if not found:
        raise SampleError(key, "empty_folder", f"{where} holds no {pattern or ', '.join(CODECS)} file")
    series = {re.sub(r"\d+", "#", name) for name in found}
    if len(series) > 1:
        found = [name for name in found if not _FLOW.match(name)] or found
    if len({re.sub(r"\d+", "#", name) for name in found}) > 1:
        shown = ", ".join(sorted(series)[:_SHOWN])
        raise SampleError(key, "mixed_names", f"{where} holds {shown}; name the frames with data.frame_files")
    return found


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _natural(name: str) -> tuple[list[int], str]:
    """Order by the numbers in a name. Series are refused, so the text between them is always the same."""
    return [int(digits) for digits in re.findall(r"\d+", name)], name
