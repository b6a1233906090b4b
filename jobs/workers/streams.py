"""The clips of a step by stream: each stream has items, order and views of its own and its own place in its passes.

What a stream yields at a step is a function of (seed, stream, step), so a run that is stopped at any step goes on there
in every stream, on any number of ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from jobs.workers.train_loop import seed_of
from shards.errors import UserError
from shards.read.config import ReaderConfig
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ClipBatch, ItemTable


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamJob:
    """One stream for the workers: what it is called, whose clips it reads, how."""

    name: str
    items: ItemTable
    reader: ReaderConfig


class StreamReader(Protocol):
    """What `Streams` needs of the reader of one stream."""

    @property
    def bad(self) -> Mapping[str, int]:
        """Clips that failed so far, by reason."""
        ...

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in one pass."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[ClipBatch]:
        """This rank's part of each global batch of a pass, from batch `start` on."""
        ...


class Streams:
    """Several readers side by side; the first one leads."""

    def __init__(self, readers: Mapping[str, StreamReader]) -> None:
        """Take the readers by the names of their streams."""
        self._readers = dict(readers)

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in one pass of the leading stream."""
        return next(iter(self._readers.values())).batches_per_epoch

    @property
    def bad(self) -> Counter[str]:
        """Count the clips that failed so far, by reason."""
        return sum((Counter(reader.bad) for reader in self._readers.values()), Counter[str]())

    def batches(self, step: int) -> Generator[dict[str, ClipBatch], None, None]:
        """Yield the batches of step `step` and of all later ones; a stream that has run out begins its next pass."""
        with ExitStack() as opened:
            streams = {name: opened.enter_context(closing(_from(r, step))) for name, r in self._readers.items()}
            while True:
                yield {name: next(stream) for name, stream in streams.items()}


def _from(reader: StreamReader, step: int) -> Generator[ClipBatch, None, None]:
    epoch, start = divmod(step, reader.batches_per_epoch)
    while True:
        yield from reader.epoch(epoch, start)
        epoch, start = epoch + 1, 0


def open_streams(
    jobs: Sequence[StreamJob], shards: Path, *, seed: int, rank: int, world: int, device: torch.device
) -> Streams:
    """Open the readers of one rank. The leading stream is seeded by `seed`, each other one by that and its name."""
    readers: dict[str, ClipReader] = {}
    for place, job in enumerate(jobs):
        if not len(job.items):
            raise UserError(f"stream {job.name}: it has no clip to read; is the unlabelled pool empty?")
        manifest = Manifest.open(shards, job.reader.cache, scattered=not job.reader.order.shard_window)
        own = seed if place == 0 else seed_of(seed, "stream", job.name)
        readers[job.name] = ClipReader(manifest, job.items, job.reader, seed=own, rank=rank, world=world, device=device)
    return Streams(readers)
