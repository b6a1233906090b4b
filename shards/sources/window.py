"""The frames of a part of a video, and what is odd with it though it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import av

from shards.errors import SampleError
from shards.sources.frames import FrameFolder
from shards.sources.probe import StrictVideo, open_video

Video = StrictVideo | FrameFolder
_EDGE = 1e-6  # seconds; a frame at exactly `start` is in, one at exactly `end` is out
_ROUNDED = 0.1  # seconds; lists round their windows


def opened(key: str, source: Path | FrameFolder) -> AbstractContextManager[Video]:
    """Open a file; a folder of images is open already."""
    return nullcontext(source) if isinstance(source, FrameFolder) else open_video(key, source)


def window_frames(
    video: Video, source: Path | FrameFolder, start: float | None, end: float | None, remarks: dict[str, str]
) -> Iterator[av.VideoFrame]:
    """Yield the frames with `start <= time < end`. The decoder goes through the rest of the file only without a window.

    A window that runs past the end of the file is remarked on, and so is a video of one frame.
    """
    begin, last, found = start or 0.0, 0.0, 0
    if not begin and end is None:
        for found, frame in enumerate(video.frames(), start=1):  # noqa: B007 - the number of the last one
            yield frame
        _remark_of_one(found, remarks)
        return
    seek = begin if begin and _can_seek(video.key, source, begin) else None
    for index, frame in enumerate(video.frames(seek)):
        last = video.time(frame, index)
        if end is not None and last >= end - _EDGE:
            return
        if last >= begin - _EDGE:
            found += 1
            yield frame
    over = last + float(1 / video.rate)
    if end is not None and end - over > max(_ROUNDED, 2 * float(1 / video.rate)):
        remarks["cut_past_end"] = f"the window ends at {end:.2f} s, the file at {over:.2f} s"
    _remark_of_one(found, remarks)


def _remark_of_one(found: int, remarks: dict[str, str]) -> None:
    if found == 1:
        remarks["one_frame"] = "a video of a single frame; is it an image, or a cover?"


def _can_seek(key: str, source: Path | FrameFolder, start: float) -> bool:
    """Say whether seeking lands before `start`: in transport streams, for one, it may land after it."""
    if isinstance(source, FrameFolder):
        return True
    try:
        with open_video(key, source) as video:
            first = next(video.frames(start), None)
            return first is not None and first.pts is not None and video.time(first, 0) <= start + _EDGE
    except SampleError:
        return False  # from the beginning then; what is wrong with the file shows there
