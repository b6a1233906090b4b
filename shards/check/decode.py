"""Open the clips of a data set and decode them, as writing the shards will: a sample of them, or all."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from shards.annotations.config import DatasetConfig
from shards.errors import SampleError, counted
from shards.sources.sources import Sources
from shards.sources.window import opened, window_frames

SAMPLE = 32
"""Clips that are decoded where nobody says how many."""
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """What one clip holds: frames, seconds, size in pixels; or why it cannot be used; and what is odd with it."""

    key: str
    path: str
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    reason: str = ""
    detail: str = ""
    remarks: Mapping[str, str]

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.frames / self.fps if self.fps else 0.0


def decode_clips(clips: pa.Table, cfg: DatasetConfig, limit: int | None = SAMPLE) -> list[Decoded]:
    """Decode `limit` clips of the table (key, path, start, end), spread over it; None = all. Several at a time."""
    rows = clips.select(["key", "path", "start", "end"]).to_pylist()
    if limit is not None and limit < len(rows):
        rows = sorted(rows, key=lambda row: hashlib.sha256(row["key"].encode()).digest())[:limit]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda row: _decode(cfg, **row), rows))


def _decode(cfg: DatasetConfig, key: str, path: str, start: float | None, end: float | None) -> Decoded:
    remarks: dict[str, str] = {}
    count, size = 0, (0, 0)
    try:
        with Sources(cfg.frame_rate, cfg.frame_files) as sources:
            source = sources.open(key, path)
            with opened(key, source) as video:
                for frame in window_frames(video, source, start, end, remarks):
                    size = size if count else (frame.width, frame.height)
                    count += 1
                if not count:
                    raise SampleError(key, "empty_cut", "no frame lies inside start..end")
                rate = float(video.rate)
    except SampleError as error:
        return Decoded(key=key, path=path, reason=error.reason, detail=error.detail, remarks={})
    return Decoded(key=key, path=path, frames=count, fps=rate, width=size[0], height=size[1], remarks=remarks)


def _span(values: Sequence[float], form: str) -> str:
    """Write sorted values as what they reach from and to, once where both read alike."""
    low, high = format(values[0], form), format(values[-1], form)
    return low if low == high else f"{low} to {high}"


def _lengths(seconds: Sequence[float]) -> str:
    """Write sorted lengths; the middle one where it says more."""
    span, middle = _span(seconds, ".1f"), f"{seconds[len(seconds) // 2]:.1f}"
    return f"{span} s, half of them over {middle} s" if middle not in span.split(" to ") else f"{span} s"


def decode_lines(found: Sequence[Decoded], of: int) -> list[str]:
    """Say what was decoded, how long and how large the clips are, what cannot be used and what is odd."""
    good = [clip for clip in found if not clip.reason]
    lines = [f"decoded: {len(good):,} of {len(found):,} clips" + ("" if len(found) == of else f", a sample of {of:,}")]
    if good:
        lengths, sides = sorted(clip.seconds for clip in good), sorted(min(clip.width, clip.height) for clip in good)
        rates = sorted(clip.fps for clip in good)
        lines.append(
            f"clips: {_lengths(lengths)}; short side {_span(sides, 'd')} pixels; {_span(rates, '.4g')} frames a second"
        )
    bad = Counter(clip.reason for clip in found if clip.reason)
    for reason, count in bad.most_common():
        examples = [f"{clip.path} ({clip.detail})" for clip in found if clip.reason == reason][:_SHOWN]
        lines.append(f"cannot be used: {counted(count, 'clip')}, {reason}: {'; '.join(examples)}")
    odd = Counter(name for clip in good for name in clip.remarks)
    for name, count in odd.most_common():
        example = next(clip for clip in good if name in clip.remarks)
        lines.append(f"odd: {counted(count, 'clip')}, {name}: {example.path} ({example.remarks[name]})")
    return lines
