"""Clips that no shards hold, read as the run's own: normalised into temporary shards ahead of the reader.

A section of clips is read while the next one is written, a few clips a tar, on as many threads as a reader has.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from jobs.config.run import RunConfig
from jobs.workers.clip_parts import evaluation_reader
from shards.read.config import ViewConfig
from shards.read.cores import reading_threads
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ClipBatch
from shards.write.plans import PlannedClip, ShardPlan
from shards.write.writer import ShardResult, finish, write_shard

SECTION = 128
"""Clips that are normalised before the first of them is read."""
PART = 2
"""Clips of one temporary tar, what a thread does at once; more where they are cut from one file."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A clip that cannot be read: its key, why (a slug) and what the library said."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Read:
    """Clips as the encoders see them, and frames a second of each."""

    batch: ClipBatch
    fps: Sequence[float]


def read_clips(
    cfg: RunConfig, clips: Sequence[PlannedClip], views: Sequence[ViewConfig], device: torch.device, size: int
) -> Generator[Failed | Read, None, None]:
    """Read clips as the run's test does, `size` in a batch, in order but for the failed ones, which come first.

    A section of SECTION clips comes after the other. Whoever stops early leaves nothing behind.
    """
    reader: ClipReader | None = None
    with tempfile.TemporaryDirectory(prefix="finepseudo-") as place, _writers(cfg) as pool:
        sections = _written_ahead(pool, cfg, clips, Path(place))
        for folder, results in sections:
            failed = [row for result in results for row in result.quarantine]
            yield from (Failed(row["key"], row["reason"], row["detail"]) for row in failed)
            if any(result.rows for result in results):
                manifest = finish(folder, results, replace(cfg.shards, store=""))
                if reader is None or not reader.turn_to(manifest):
                    reader = evaluation_reader(cfg, folder, views, device)
                yield from _batches(reader, manifest, size)
                manifest.close()
            shutil.rmtree(folder)


def _batches(reader: ClipReader, manifest: Manifest, size: int) -> Iterator[Failed | Read]:
    for batch in reader.batches(manifest.keys, size):
        for key, valid in zip(batch.keys, batch.valid.tolist(), strict=True):
            if not valid:
                yield Failed(key, *reader.why(key))
        sound = batch.sound()
        if sound.keys:
            yield Read(sound, [manifest.row(key).fps for key in sound.keys])


def _writers(cfg: RunConfig) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(reading_threads(cfg.reading.threads, 1), "normalise")


def _written_ahead(
    pool: ThreadPoolExecutor, cfg: RunConfig, clips: Sequence[PlannedClip], place: Path
) -> Iterator[tuple[Path, list[ShardResult]]]:
    """Give section after section when it is written; the next one is being written meanwhile."""
    waiting: list[tuple[Path, list[Future[ShardResult]]]] = []
    try:
        for first in range(0, len(clips), SECTION):
            folder, section = place / f"{first:08d}", clips[first : first + SECTION]
            folder.mkdir()
            waiting.append((folder, [pool.submit(_write, cfg, plan, folder) for plan in _plans(cfg, section)]))
            if len(waiting) > 1:
                ready, parts = waiting.pop(0)
                yield ready, [part.result() for part in parts]
        for ready, parts in waiting:
            yield ready, [part.result() for part in parts]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _plans(cfg: RunConfig, clips: Sequence[PlannedClip]) -> list[ShardPlan]:
    rate, files = cfg.data.frame_rate, cfg.data.frame_files
    parts: list[list[PlannedClip]] = []
    for clip in clips:
        if not parts or (len(parts[-1]) >= PART and parts[-1][-1].path != clip.path):
            parts.append([])
        parts[-1].append(clip)
    return [ShardPlan(index=i, clips=tuple(p), frame_rate=rate, frame_files=files) for i, p in enumerate(parts)]


def _write(cfg: RunConfig, plan: ShardPlan, folder: Path) -> ShardResult:
    here = replace(cfg.shards, store="")
    if here.profile == "copy" and any(clip.start or clip.end or Path(clip.path).is_dir() for clip in plan.clips):
        here = replace(here, profile="h264")  # a copy can hold neither a part of a file nor images
    return write_shard(plan, folder, here)
