"""Clips of several streams side by side, such as labelled and unlabelled ones: the batches of a step by stream name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch

from shards.errors import UserError
from shards.read.config import ReaderConfig
from shards.read.cores import reading_threads
from shards.read.decode import DecoderChoice
from shards.read.loader import ClipLoader, Loaded
from shards.read.order import rank_slots
from shards.read.reader import PRODUCERS, ClipReader, ahead
from shards.storage.manifest import Manifest
from shards.types import ClipBatch, ItemTable


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamInput:
    """Whose clips a stream reads and how. The ratio mu of two streams is that of their `reader.order.batch_size`."""

    # Clips that need no label come as `ItemTable.unlabelled`: what a table does not hold reaches no batch.
    items: ItemTable
    reader: ReaderConfig


class StreamReader:
    """Reads this rank's part of the global batches of every stream, step after step, without end.

    Every stream has items, sampler, batch size and views of its own and goes through its own passes: one that has run
    out begins its next pass, whatever the others do. What it gives at a step is a function of (seed, stream, step)
    alone: not of the other streams, nor of the number of ranks, nor of where reading began. So a training goes on at
    any step with `batches(step)`, and has no cursor to save.

    The first stream leads: it counts the epochs, and it reads what a `ClipReader` of the same seed reads. Where a batch
    does not divide by the ranks, some of them have an empty slot (`valid` False), so that all have as many slots. A
    stream without items, such as an empty pool, has batches of empty slots alone; the leading one must have items.

        views = (ViewConfig(name="weak", ...), ViewConfig(name="strong", ...))
        few = ReaderConfig(order=OrderConfig(batch_size=8), ...)
        many = ReaderConfig(order=OrderConfig(batch_size=24), views=views, ...)
        streams = {
            "labelled": StreamInput(items=labelled, reader=few),
            "unlabelled": StreamInput(items=ItemTable.unlabelled(pool), reader=many),
        }
        reader = StreamReader(manifest, streams, seed=0)
        for step, batches in enumerate(reader.batches()):
            batches["labelled"].frames                    # [8, V, T, C, H, W], its only view
            batches["unlabelled"].views["strong"].frames  # [24, V, T, C, H, W]
    """

    def __init__(
        self,
        manifest: Manifest,
        streams: Mapping[str, StreamInput],
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        sharers: int = 1,
    ) -> None:
        """Check everything that can be checked before the first clip. Threads and prefetch are the leading stream's.

        sharers: readers on this machine that share its cores, for `threads` auto.

        UserError: what `ClipReader` raises, with the name of the stream.
        """
        first = next(iter(streams))
        self._cfg = streams[first].reader
        self._threads = reading_threads(self._cfg.threads, sharers)
        self._producers = PRODUCERS[torch.device(device).type]
        self._streams: dict[str, ClipReader | _EmptyStream] = {}
        for name, stream in streams.items():
            items, cfg = stream.items, stream.reader
            try:
                if name != first and not len(items):
                    self._streams[name] = _EmptyStream(manifest, cfg, world, device)
                else:
                    own = seed if name == first else stream_seed(seed, name)
                    self._streams[name] = ClipReader(
                        manifest, items, cfg, seed=own, rank=rank, world=world, device=device, sharers=sharers
                    )
            except UserError as error:
                raise UserError(f"stream {name}: {error}") from error
        self.batches_per_epoch = self._streams[first].batches_per_epoch

    @property
    def bad(self) -> Counter[str]:
        """Count the clips that failed so far, by reason, over all streams."""
        return sum((stream.bad for stream in self._streams.values()), Counter[str]())

    @property
    def fallbacks(self) -> int:
        """Count the different clips that PyAV read so far because DALI could not, over all streams."""
        return sum(stream.fallbacks for stream in self._streams.values())

    @property
    def decoded(self) -> Counter[str]:
        """Count the clips read so far, as often as each was, by who decoded them, over all streams."""
        return sum((stream.decoded for stream in self._streams.values()), Counter[str]())

    @property
    def decoder(self) -> DecoderChoice:
        """Give the decoder that reads the clips of the leading stream; as text it says why."""
        return next(iter(self._streams.values())).decoder

    def seen(self, step: int) -> int:
        """Count the clips of all streams in the global batches before `step`, on all ranks; empty slots are none."""
        return sum(stream.seen(step) for stream in self._streams.values())

    def batches(self, step: int = 0) -> Generator[dict[str, ClipBatch], None, None]:
        """Yield the batches of `step` and of all later steps, by stream in the order of the streams.

        Closing the iterator ends its threads. Raises UserError when too many clips of a stream fail.
        """
        with ThreadPoolExecutor(self._threads, "clips") as pool:
            loads = (self._plan(number, pool) for number in count(step))
            yield from ahead(loads, self._cfg.prefetch, self._producers)

    def _plan(self, step: int, pool: ThreadPoolExecutor) -> Callable[[], _LoadedStep]:
        plans = {name: stream.plan(step, pool) for name, stream in self._streams.items()}
        return lambda: _LoadedStep({name: load() for name, load in plans.items()})


@dataclass(frozen=True, slots=True)
class _LoadedStep:
    """The batches of a step."""

    parts: Mapping[str, Loaded]

    def take(self) -> dict[str, ClipBatch]:
        """Give them to the current stream of a GPU."""
        return {name: part.take() for name, part in self.parts.items()}


class _EmptyStream:
    """A stream without items: every slot of its batches is masked."""

    batches_per_epoch, fallbacks = 1, 0

    def __init__(self, manifest: Manifest, cfg: ReaderConfig, world: int, device: torch.device | str) -> None:
        self._slots = rank_slots(cfg.order.batch_size, world)
        self._loader = ClipLoader(manifest, cfg, threads=1, chunk=self._slots, total=0, device=device)
        self.bad: Counter[str] = Counter()
        self.decoded: Counter[str] = Counter()
        self.decoder = self._loader.decoder

    def seen(self, step: int) -> int:
        """Count no clip."""
        del step
        return 0

    def plan(self, step: int, pool: ThreadPoolExecutor) -> Callable[[], Loaded]:
        """Plan a batch of empty slots."""
        del step
        return lambda: self._loader.load([], self._slots, pool)


def stream_seed(seed: int, name: str) -> int:
    """Make the seed of a stream other than the leading one: streams of the same clips come in orders of their own."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)[0] >> 1)
