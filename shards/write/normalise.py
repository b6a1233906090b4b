"""Transcode a clip to the shard profile in memory: the same bytes whatever machine load or number of workers.

Profile h264: mp4, yuv420p, short side about `short_side` at most, a key frame every 12 frames, no B-frames, no audio,
index in front, frames kept one for one on a constant timeline, the display matrix applied to the pixels. Profile vp9:
the same in webm, for decoders that read no H.264 on a CPU. Profile copy: the file's own bytes, only checked; a file
that is to be turned or mirrored, or holds more than one video stream, is stored as with h264, since readers would
differ on it.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from shards.errors import SampleError, UserError
from shards.sources.frames import FrameFolder
from shards.sources.orientation import Orientation, orientation
from shards.sources.probe import MACROBLOCK, open_video
from shards.sources.window import Video, opened, window_frames

MIN_SIDE = 48
"""Smallest side written, in pixels: hardware decoders refuse smaller images."""
MAX_SIDE = 4096
STRETCH = Fraction(1, 32)
"""Most that a side may change for the sake of whole blocks: from 256 pixels on every side can be had."""
GOP = 12
_SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalisedClip:
    """Encoded bytes and what they hold: true frame count, frames a second, codec, size in pixels, file extension.

    remarks: slug -> detail of what is odd with a clip that is stored all the same: `cut_past_end`, `one_frame`.
    """

    data: bytes
    extension: str
    n_frames: int
    fps: float
    codec: str
    width: int
    height: int
    remarks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    codec: str
    container: str
    container_options: dict[str, str]
    codec_options: dict[str, str]


_TARGETS = {
    "h264": _Target(
        codec="libx264",
        container="mp4",
        container_options={"movflags": "+faststart", "fflags": "+bitexact"},
        codec_options={
            "preset": "veryfast",
            "crf": "20",
            "flags": "+bitexact",
            "x264-params": "scenecut=0:open-gop=0",
        },
    ),
    "vp9": _Target(
        codec="libvpx-vp9",
        container="webm",
        container_options={"fflags": "+bitexact"},
        # No hidden reference frames and no look-ahead: every packet is one shown frame.
        codec_options={
            "deadline": "realtime",
            "cpu-used": "6",
            "crf": "28",
            "b": "0",
            "lag-in-frames": "0",
            "auto-alt-ref": "0",
            "flags": "+bitexact",
        },
    ),
}


def normalise(
    key: str,
    source: Path | FrameFolder,
    *,
    profile: str = "h264",
    short_side: int = 256,
    start: float | None = None,
    end: float | None = None,
) -> NormalisedClip:
    """Check and transcode one clip, a file or a folder of images, or the part with `start <= time < end` in seconds.

    Raises SampleError when the clip cannot be used, UserError when the profile cannot do what is asked.
    """
    if profile == "copy":
        if isinstance(source, FrameFolder):
            raise UserError(f"{key}: profile copy cannot store the folder {source.folder}; use profile h264 or vp9")
        if start is not None or end is not None:
            raise UserError(f"{key}: profile copy cannot cut {start}..{end} s out of {source}; use profile h264 or vp9")
        copied = _copy(key, source)
        if copied is not None:
            return copied
        profile = "h264"
    remarks: dict[str, str] = {}
    with opened(key, source) as video:
        frames = window_frames(video, source, start, end, remarks)
        data, size, count, rate = _encode(frames, video, _TARGETS[profile], short_side)
    clip = _verified(key, data, _TARGETS[profile].container, expected=count, rate=rate, size=size)
    return replace(clip, remarks=remarks)


def target_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and height with the short side at most `short_side`, then whole macroblocks where that is no great change.

    340 x 256 becomes 336 x 256: of clips that fill their blocks a GPU's video decoder serves one after another, while
    DALI makes another one for every clip that does not, reported as 50 to 70 ms each on an H100. A side changes by
    STRETCH at most, or is even; small clips keep their size but for that. Only images below MIN_SIDE grow more, no side
    goes over MAX_SIDE.
    """
    short = min(width, height)
    factor = Fraction(max(min(short, short_side), MIN_SIDE), short)
    return _whole(width * factor), _whole(height * factor)


def _whole(side: Fraction) -> int:
    blocks = MACROBLOCK * round(side / MACROBLOCK)
    fitting = blocks if abs(blocks - side) <= STRETCH * side else 2 * round(side / 2)
    return min(max(fitting, MIN_SIDE), MAX_SIDE)


def _encode(
    frames: Iterator[av.VideoFrame], video: Video, target: _Target, short_side: int
) -> tuple[bytes, tuple[int, int], int, Fraction]:
    first = next(frames, None)
    if first is None:
        raise SampleError(video.key, "empty_cut", "no frame lies inside start..end")
    width, height = target_size(first.width, first.height, short_side)
    turn = orientation(first)
    size = (height, width) if turn.transpose else (width, height)
    rate = min(max(video.rate, Fraction(1)), Fraction(240))
    buffer, scaler, count = io.BytesIO(), VideoReformatter(), 0
    # The index is moved to the front by reading back what is written so far.
    with av.open(
        buffer,
        "w",
        format=target.container,
        container_options=target.container_options,
        io_open=lambda _url, _flags, _options: io.BytesIO(buffer.getvalue()),
    ) as output:
        stream = _add_stream(output, target, size, rate)
        for count, frame in enumerate(itertools.chain([first], frames), start=1):
            image = _image(scaler, frame, width, height, turn)
            image.pts, image.time_base = count - 1, 1 / rate
            image.pict_type = PictureType.NONE  # else the source's key frames would be key frames again
            output.mux(stream.encode(image))
        output.mux(stream.encode(None))
    return buffer.getvalue(), size, count, rate


def _add_stream(
    output: av.container.OutputContainer, target: _Target, size: tuple[int, int], rate: Fraction
) -> av.VideoStream:
    stream = output.add_stream(target.codec, rate=rate, options=target.codec_options)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / rate
    context.gop_size, context.max_b_frames, context.thread_count = GOP, 0, 1
    context.color_range, context.colorspace = ColorRange.MPEG, 5  # limited range, BT.601
    return stream


def _image(scaler: VideoReformatter, frame: av.VideoFrame, width: int, height: int, turn: Orientation) -> av.VideoFrame:
    """Scale to limited-range BT.601 yuv420p and turn or mirror the pixels as the display matrix asks."""
    image = scaler.reformat(
        frame,
        width=width,
        height=height,
        format="yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
        interpolation=_SCALER,
        threads=1,
    )
    if turn.upright:
        return image
    planes = image.to_ndarray()  # [H * 3 / 2, W]: Y, then U and V as flat halves
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    turned = np.concatenate([turn.apply(plane).reshape(-1) for plane in (luma, *chroma)])
    new_width = height if turn.transpose else width
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(turned.reshape(-1, new_width)), format="yuv420p")


def _copy(key: str, path: Path) -> NormalisedClip | None:
    """Take the bytes of a file that every reader shows alike: upright, with a single video stream; None for others."""
    remarks: dict[str, str] = {}
    with open_video(key, path) as video:
        frames = window_frames(video, path, None, None, remarks)
        if len(video.container.streams.video) > 1 or not orientation(next(frames)).upright:
            return None
        count = 1 + sum(1 for _ in frames)
        rate = video.rate
    extension = path.suffix.lstrip(".").lower()
    if not extension.isalnum() or extension == "json":
        raise SampleError(key, "bad_extension", f"{path.name} has no usable file extension")
    return replace(_verified(key, path.read_bytes(), extension, expected=count, rate=rate), remarks=remarks)


def named_codec(codec: str, pixels: str) -> str:
    """Name a codec, and its pixels where they are not the 4:2:0 of 8 bits that video engines are asked for."""
    return codec if pixels in ("yuv420p", "yuvj420p") else f"{codec} {pixels}"


def _verified(
    key: str, data: bytes, extension: str, *, expected: int, rate: Fraction, size: tuple[int, int] | None = None
) -> NormalisedClip:
    """Decode the bytes that will be stored once more: readers rely on this frame count."""
    count, found, codec = 0, (0, 0), ""
    with open_video(key, io.BytesIO(data), len(data)) as video:
        for frame in video.frames():
            codec = codec or named_codec(video.codec, frame.format.name)
            found = found if count else (frame.width, frame.height)
            count += 1
    if count != expected or (size is not None and found != size):
        detail = f"{expected} frames of {size} went in, {count} of {found} came out"
        raise SampleError(key, "frame_count_mismatch", detail)
    return NormalisedClip(
        data=data,
        extension=extension,
        n_frames=count,
        fps=float(rate),
        codec=codec,
        width=found[0],
        height=found[1],
    )
