"""Clips in the order of `shards.read.order`, as batches of tensors: the one way training and evaluation read.

A clip's frames and augmentation depend on (seed, epoch, item, place in the global batch) alone. Clips are found by key
through the manifest, so any number of ranks reads any number of tars; there need not be a tar for every rank.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import torch

from shards.errors import UserError
from shards.read.config import ReaderConfig
from shards.read.decode import DecoderChoice
from shards.read.loader import ClipLoader, Request
from shards.read.order import PADDING, BatchOrder, rank_slice
from shards.storage.manifest import Manifest
from shards.types import NO_LABEL, ClipBatch, ItemTable

_SAMPLES = 3  # keeps the samples' generators apart from those of `shards.read.order`


class ClipReader:
    """Reads this rank's part of each global batch. Build it in the process that reads; its config may be pickled."""

    def __init__(
        self,
        manifest: Manifest,
        items: ItemTable,
        cfg: ReaderConfig,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        """Check everything that can be checked before the first clip.

        UserError: items without a stored clip, a batch that the ranks cannot share, a decoder that cannot work here.
        """
        _check_keys(manifest, items.keys)
        if seed < 0:
            raise UserError(f"seed = {seed}: must be 0 or more")
        self.manifest, self.items, self.cfg, self.seed = manifest, items, cfg, seed
        shards = manifest.shards_of(items.keys) if cfg.order.shard_window else None
        self._order = BatchOrder(items, cfg.order, seed, shards)
        self._mine = rank_slice(cfg.order.batch_size, rank, world)
        share = self._mine.stop - self._mine.start
        self._loader = ClipLoader(manifest, cfg, chunk=share, total=len(items), device=device)

    @property
    def batches_per_epoch(self) -> int:
        """Count the batches of an epoch: the same on every rank."""
        return self._order.length

    @property
    def decoder(self) -> DecoderChoice:
        """Give the decoder that reads the clips; as text it says why."""
        return self._loader.decoder

    @property
    def bad(self) -> Counter[str]:
        """Count the clips that failed so far, by reason."""
        return Counter(error.reason for error in self._loader.failures.values())

    def epoch(self, epoch: int, start: int = 0) -> Iterator[ClipBatch]:
        """Yield this rank's part of global batches `start`.. of the epoch: frames [B / world, V, T, C, H, W].

        Started at batch b it yields exactly what a whole epoch yields from there. Closing the iterator early ends its
        threads. Raises UserError when too many clips fail.
        """
        batches = range(start, self.batches_per_epoch)
        with ThreadPoolExecutor(self.cfg.threads, "clips") as pool:
            loads = (self._later(epoch, index, pool) for index in batches)
            yield from _ahead(loads, self.cfg.prefetch)

    def read(self, keys: Sequence[str]) -> ClipBatch:
        """Read clips as evaluation sees them, in one batch: fixed frames and crops, nothing random.

        Labels are those of the reader's items; NO_LABEL for other clips. Raises UserError for a key that is not stored.
        """
        _check_keys(self.manifest, keys)
        with ThreadPoolExecutor(self.cfg.threads, "clips") as pool:
            return self._asked(keys, pool)()

    def batches(self, keys: Sequence[str], size: int) -> Iterator[ClipBatch]:
        """Read clips as `read` does, `size` in a batch (the last may be smaller), decoding ahead of the caller."""
        _check_keys(self.manifest, keys)
        with ThreadPoolExecutor(self.cfg.threads, "clips") as pool:
            groups = (keys[first : first + size] for first in range(0, len(keys), size))
            yield from _ahead((self._asked(group, pool) for group in groups), self.cfg.prefetch)

    def _asked(self, keys: Sequence[str], pool: ThreadPoolExecutor) -> Callable[[], ClipBatch]:
        """Plan a batch of these clips; what is returned reads it."""
        requests = [self._request(slot, key, self._places.get(key, PADDING), None) for slot, key in enumerate(keys)]
        return lambda: self._loader.load(requests, len(keys), pool)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self.items.keys)}

    def _later(self, epoch: int, index: int, pool: ThreadPoolExecutor) -> Callable[[], ClipBatch]:
        """Plan one batch; what is returned reads it."""
        places = self._order.batch(epoch, index)
        mine = range(*self._mine.indices(len(places)))
        requests = []
        for slot, where in enumerate(mine):  # `where` is the place in the global batch, `slot` that in this rank's part
            place = int(places[where])
            if place != PADDING:
                seed = (self.seed, _SAMPLES, epoch, place, where)
                requests.append(self._request(slot, self.items.keys[place], place, seed))
        return lambda: self._loader.load(requests, len(mine), pool)

    def _request(self, slot: int, key: str, place: int, seed: tuple[int, ...] | None) -> Request:
        if place == PADDING:
            return Request(slot, key, NO_LABEL, False, seed)
        return Request(slot, key, int(self.items.labels[place]), bool(self.items.pseudo[place]), seed)


def _ahead(loads: Iterator[Callable[[], ClipBatch]], depth: int) -> Iterator[ClipBatch]:
    """Run the loads in order on one background thread, at most `depth` finished ones waiting."""
    if depth == 0:
        yield from (load() for load in loads)
        return
    waiting: deque[Future[ClipBatch]] = deque()
    with ThreadPoolExecutor(1, "prefetch") as producer:
        try:
            for load in loads:
                waiting.append(producer.submit(load))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _check_keys(manifest: Manifest, keys: Sequence[str]) -> None:
    missing = manifest.missing(keys)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(keys)} clips are not in the shards at {manifest.folder}, the first: "
            f"{', '.join(missing[:3])}; write the shards for this data set, or look for them in quarantine.parquet"
        )
