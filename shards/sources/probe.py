"""Decode every frame of a clip once, strictly; say in one slug why a clip cannot be used.

What this notices: files that are no video, have no video stream, no frames, are encrypted, cut off, fail to decode or
decode to far fewer frames than they hold. What no CPU decoder notices: bits flipped inside an image that still parse.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
from av.error import FFmpegError
from av.stream import Disposition

from shards.errors import SampleError

MAX_PIXELS = 16384 * 8192
"""Largest image that is decoded: 16K. A header that asks for more is an attack or damage."""
MACROBLOCK = 16
"""Codecs store whole blocks of that many pixels, H.264 among them, and crop what is over."""
MAX_SECONDS = 1800.0
"""Longest time one clip may take to decode, in seconds of wall time."""
# Only the file itself may be read: a playlist must not make the decoder open other files or the network.
_OPTIONS = {"protocol_whitelist": "file", "err_detect": "explode"}
_NOT_VIDEO = {"tty", "hls", "dash", "concat", "ffmetadata", "srt", "ass", "webvtt"}
_MISSING_SHARE = 0.1  # real AVI files announce one frame more than they hold
_SHORT_SHARE = 0.01  # of the duration in a Matroska header
_STILL_CODECS = {"mjpeg", "png", "bmp", "webp", "gif"}
_FALLBACK_RATE = Fraction(25)
_BELIEVED = 120
"""Fastest rate that a header is believed without a look at the time stamps."""
_SAME_RATE = 0.02  # stamps are rounded to milliseconds
_MEASURED = 300
"""Frames whose time stamps tell the rate of a file that names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeResult:
    """What a clip really holds: decoded frames, frames a second, codec and the size of its first image in pixels."""

    n_frames: int
    fps: float
    codec: str
    width: int
    height: int


class StrictVideo:
    """An open video stream whose frames are decoded in order, once, every error being a SampleError."""

    def __init__(
        self, key: str, container: av.container.InputContainer, stream: av.VideoStream, size: int, rate: Fraction
    ) -> None:
        """Take an open container and its stream; `size` is the length of the file in bytes, `rate` frames a second."""
        self.key, self.container, self.stream, self.size = key, container, stream, size
        self.codec: str = stream.codec_context.name
        self.rate = rate
        self._packets = 0
        self._ticks = 0  # an AVI header counts these, and a frame may take several
        self._frames = 0
        self._announced = _matroska_seconds(container, stream)
        self._end = 0.0
        self._base, self._seconds = Fraction(0), 0.0

    def frames(self, start: float | None = None) -> Iterator[av.VideoFrame]:
        """Yield every frame; with `start` (seconds) from the key frame before it, without the count check."""
        if start:
            self._seek(start)
        deadline = time.monotonic() + MAX_SECONDS
        try:
            for packet in self.container.demux(self.stream):
                self._check_packet(packet)
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise SampleError(self.key, "decode_error", "the decoder marks a frame as corrupt")
                    if self._announced:
                        self._end = max(self._end, self.time(frame, self._frames) + float(1 / self.rate))
                    self._frames += 1
                    yield frame
                if time.monotonic() > deadline:
                    raise SampleError(self.key, "too_slow", f"more than {MAX_SECONDS:.0f} s to decode")
        except (FFmpegError, ValueError) as error:
            raise self._failure(error) from error
        self._check_count(whole=not start)

    def time(self, frame: av.VideoFrame, index: int) -> float:
        """Give the time of a frame in seconds from the start of the stream."""
        if frame.pts is None or frame.time_base is None:
            return float(index / self.rate)
        ticks: int = frame.pts - (self.stream.start_time or 0)
        return ticks * self._tick(frame.time_base)

    def _tick(self, base: Fraction) -> float:
        """Seconds a tick: a division of fractions for every frame would be a tenth of its decoding."""
        if base != self._base:
            self._base, self._seconds = base, float(base)
        return self._seconds

    def _seek(self, start: float) -> None:
        offset = int(start / self.stream.time_base) + (self.stream.start_time or 0)
        try:
            self.container.seek(offset, stream=self.stream, backward=True)
        except FFmpegError as error:
            raise SampleError(self.key, "seek_error", str(error)) from error

    def _check_packet(self, packet: av.Packet) -> None:
        if packet.is_keyframe and packet.has_sidedata("encryption_info"):
            raise SampleError(self.key, "encrypted", "the stream is encrypted")
        if packet.size and not packet.is_discard:
            self._packets += 1
            self._ticks = max(self._ticks, (packet.dts or 0) + 1)

    def _failure(self, error: Exception) -> SampleError:
        detail = f"after {self._frames} frames: {error}"
        return SampleError(self.key, "truncated" if self._is_cut() else "decode_error", detail)

    def _check_count(self, *, whole: bool) -> None:
        if self._frames == 0:
            raise SampleError(self.key, "no_frames", f"{self._packets} packets, no frame")
        if self._is_cut():
            raise SampleError(self.key, "truncated", f"the file ends before its index does, {self._frames} frames read")
        expected = self._packets
        if self.container.format.name == "avi" and self._ticks < self.stream.frames * (1 - _MISSING_SHARE):
            expected = max(expected, self.stream.frames)
        announced = self._announced
        if announced and self._end < announced * (1 - _SHORT_SHARE) - 2 / self.rate:
            raise SampleError(self.key, "truncated", f"the header says {announced:.2f} s, {self._end:.2f} s are there")
        if whole and self._frames + 1 < expected * (1 - _MISSING_SHARE):
            raise SampleError(self.key, "frame_count_mismatch", f"{self._frames} frames decoded, {expected} stored")

    def _is_cut(self) -> bool:
        return any(entry.pos + entry.size > self.size for entry in self.stream.index_entries)


@contextmanager
def open_video(key: str, source: Path | IO[bytes], size: int | None = None) -> Iterator[StrictVideo]:
    """Open the moving stream of a file, or of bytes in memory (`size` then says how many)."""
    if isinstance(source, Path):
        size = _check_file(key, source)
        source_name: str | IO[bytes] = f"file:{source}"
    else:
        source_name = source
    try:
        container = av.open(source_name, metadata_errors="ignore", container_options=_OPTIONS)
    except PermissionError as error:
        raise SampleError(key, "not_readable", "permission is denied") from error
    except (FFmpegError, ValueError) as error:
        raise SampleError(key, "not_a_video", getattr(error, "strerror", None) or str(error)) from error
    with container:
        stream = _stream(key, container)
        rate = _rate(stream, lambda: _stamps(source_name, stream.index)) / _ticks_a_frame(container, stream)
        yield StrictVideo(key, container, stream, size or 0, rate)


def probe(key: str, path: Path) -> ProbeResult:
    """Decode the whole clip. Raises SampleError with the reason when it cannot be used."""
    with open_video(key, path) as video:
        count, width, height = 0, 0, 0
        for frame in video.frames():
            if not count:
                width, height = frame.width, frame.height
            count += 1
        return ProbeResult(n_frames=count, fps=float(video.rate), codec=video.codec, width=width, height=height)


def _stream(key: str, container: av.container.InputContainer) -> av.VideoStream:
    """Choose the stream to decode, with a strict decoder."""
    if _NOT_VIDEO & set(container.format.name.split(",")):
        raise SampleError(key, "not_a_video", f"the file is read as {container.format.name}")
    if not container.streams.video:
        raise SampleError(key, "no_video_stream", f"{len(container.streams)} streams, none of them video")
    stream = _moving(container)
    context = stream.codec_context
    if context is None:
        raise SampleError(key, "unknown_codec", "no decoder for the video stream")
    context.thread_count = 1
    context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    return stream


def _moving(container: av.container.InputContainer) -> av.VideoStream:
    """Choose the stream that moves, not a cover or a thumbnail that stands before it."""

    def rank(stream: av.VideoStream) -> tuple[bool, bool, bool, bool]:
        cover = bool(stream.disposition & Disposition.attached_pic)
        still = stream.codec_context is None or stream.codec_context.name in _STILL_CODECS
        return not cover, not still, stream.frames != 1, bool(stream.disposition & Disposition.default)

    return max(container.streams.video, key=rank)


def _check_file(key: str, path: Path) -> int:
    """Refuse what is missing, empty or no plain file (a pipe would make the decoder wait forever)."""
    try:
        if not path.is_file():
            raise SampleError(key, "not_a_file" if path.exists() else "missing_file", str(path))
        size = path.stat().st_size
    except OSError as error:
        raise SampleError(key, "unreadable_file", str(error)) from error
    if size == 0:
        raise SampleError(key, "empty_file", "0 bytes")
    return size


def _rate(stream: av.VideoStream, times: Callable[[], Sequence[float]]) -> Fraction:
    """Frames a second: the average, else the guessed rate; a fast one only as far as the time stamps bear it out.

    Where the header names no rate, Matroska and FLV seem to have one frame a tick, a thousand a second. Absurd headers
    fall back to 25. times: gives the time stamps of the first frames in seconds, sorted.
    """
    claims = [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    claim = next((rate for rate in claims if Fraction(1, 10) <= rate <= 1000), None)
    if claim and claim <= _BELIEVED:
        return claim.limit_denominator(1001)
    stamps = times()
    span = stamps[-1] - stamps[0] if stamps else 0.0
    if not span:
        return _FALLBACK_RATE
    measured = Fraction((len(stamps) - 1) / span).limit_denominator(1001)
    if claim and abs(measured / claim - 1) < _SAME_RATE:
        return claim.limit_denominator(1001)
    return measured if Fraction(1, 10) <= measured <= 1000 else _FALLBACK_RATE


def _ticks_a_frame(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction:
    """Count the ticks that a frame takes in an AVI file: its rate is that of the ticks."""
    places = [entry.timestamp for entry in stream.index_entries] if container.format.name == "avi" else []
    return (
        max(Fraction(round((places[-1] - places[0]) / (len(places) - 1))), Fraction(1)) if places[1:] else Fraction(1)
    )


def _stamps(source: str | IO[bytes], index: int) -> list[float]:
    """Read the time stamps of the first frames, in seconds, sorted; none where the file holds none."""
    if not isinstance(source, str):
        with _rewound(source):
            return _stamps_of(source, index)
    return _stamps_of(source, index)


@contextmanager
def _rewound(source: IO[bytes]) -> Iterator[None]:
    """Read bytes from the start and leave them where the open container has read to."""
    place = source.tell()
    source.seek(0)
    try:
        yield
    finally:
        source.seek(place)


def _stamps_of(source: str | IO[bytes], index: int) -> list[float]:
    found: list[float] = []
    try:
        with av.open(source, metadata_errors="ignore", container_options=_OPTIONS) as container:
            stream = container.streams[index]
            for packet in container.demux(stream):
                if packet.pts is not None and stream.time_base:
                    found.append(float(packet.pts * stream.time_base))
                if len(found) == _MEASURED:
                    break
    except (FFmpegError, ValueError):
        return []  # what is wrong with the file shows when it is decoded
    return sorted(found)


def _matroska_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """Duration that a Matroska or WebM header gives for the video: such files have no index that shows a cut."""
    if "matroska" not in container.format.name:
        return None
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:
        hours, minutes, seconds = tag.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    alone = len(container.streams) == 1 and container.duration
    return container.duration / av.time_base if alone else None
