"""Clips in the order of `shards.read.order`, as batches of tensors: the one way training and evaluation read.

A clip's frames and augmentation depend on (seed, epoch, item, place in the global batch) alone. Clips are found by key
through the manifest, so any number of ranks reads any number of tars; there need not be a tar for every rank.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from typing import Protocol, TypeVar

import numpy as np
import torch

from shards.errors import UserError
from shards.read.config import ReaderConfig
from shards.read.cores import reading_threads
from shards.read.decode import DecoderChoice
from shards.read.loader import ClipLoader, Loaded, Request
from shards.read.order import PADDING, BatchOrder, rank_slice, rank_slots
from shards.read.views import distinct_places, draw_views
from shards.storage.manifest import Manifest
from shards.types import NO_LABEL, ClipBatch, ItemTable

T_co = TypeVar("T_co", covariant=True)

PRODUCERS = {"cpu": 1, "cuda": 2}
"""Batches in the making at once: while one is decoded or transformed on a GPU, the bytes of the next are read."""
_SAMPLES, _FIXED = 3, 4  # keep the samples' generators apart from those of `shards.read.order`


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
        sharers: int = 1,
    ) -> None:
        """Check everything that can be checked before the first clip.

        sharers: readers on this machine that share its cores, for `threads` auto.

        UserError: no item, items without a stored clip, a decoder that cannot work here.
        """
        _check_keys(manifest, items.keys)
        if seed < 0:
            raise UserError(f"seed = {seed}: must be 0 or more")
        self.manifest, self.items, self.cfg, self.seed = manifest, items, cfg, seed
        shards = manifest.shards_of(items.keys) if cfg.order.shard_window else None
        self._order = BatchOrder(items, cfg.order, seed, shards)
        self._mine = rank_slice(cfg.order.batch_size, rank, world)
        self.slots = rank_slots(cfg.order.batch_size, world)
        self.threads, self._producers = reading_threads(cfg.threads, sharers), PRODUCERS[torch.device(device).type]
        self._loader = ClipLoader(
            manifest, cfg, threads=self.threads, chunk=self.slots, total=len(items), device=device
        )

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
        return Counter(error.reason for error in list(self._loader.failures.values()))  # clips may be failing meanwhile

    @property
    def fallbacks(self) -> int:
        """Count the different clips that PyAV read so far because DALI could not."""
        return len(self._loader.by_pyav.keys() - self._loader.failures.keys())

    @property
    def decoded(self) -> Counter[str]:
        """Count the clips read so far, as often as each was, by who decoded them: `dali`, `pyav`."""
        return Counter(self._loader.shares.clips)

    def seen(self, step: int) -> int:
        """Count the clips of the global batches before `step`, over all epochs."""
        return self._order.clips(step)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[ClipBatch]:
        """Yield this rank's part of global batches `start`.. of the epoch: views [B / world, V, T, C, H, W].

        Started at batch b it yields exactly what a whole epoch yields from there. Closing the iterator early ends its
        threads. Raises UserError when too many clips fail.
        """
        length = self.batches_per_epoch
        with ThreadPoolExecutor(self.threads, "clips") as pool:
            loads = (self.plan(step, pool) for step in range(epoch * length + start, (epoch + 1) * length))
            yield from ahead(loads, self.cfg.prefetch, self._producers)

    def read(self, keys: Sequence[str]) -> ClipBatch:
        """Read clips as evaluation sees them, in one batch: fixed frames and crops, nothing random.

        Labels are those of the reader's items; NO_LABEL for other clips. Raises UserError for a key that is not stored.
        """
        _check_keys(self.manifest, keys)
        with ThreadPoolExecutor(self.threads, "clips") as pool:
            return self._asked(keys, pool)().take()

    def distinct(self, key: str) -> list[int]:
        """List the places of the only view of a clip, as `read` gives it, that show something new; see `views`."""
        row = self.manifest.row(key)
        (drawn,) = draw_views(self.cfg.views, row.n_frames, None)
        return distinct_places(drawn, row.height, row.width)

    def batches(self, keys: Sequence[str], size: int) -> Iterator[ClipBatch]:
        """Read clips as `read` does, `size` in a batch (the last may be smaller), decoding ahead of the caller."""
        _check_keys(self.manifest, keys)
        with ThreadPoolExecutor(self.threads, "clips") as pool:
            groups = (keys[first : first + size] for first in range(0, len(keys), size))
            yield from ahead((self._asked(group, pool) for group in groups), self.cfg.prefetch, self._producers)

    def turn_to(self, manifest: Manifest) -> bool:
        """Be asked for the clips of other shards from here on, through the graphs that are built.

        False, and nothing has changed, where those hold another profile or codec, which may take another decoder.
        """
        if (manifest.profile, manifest.codecs) != (self.manifest.profile, self.manifest.codecs):
            return False
        self.manifest = self._loader.manifest = manifest
        self._loader.total += len(manifest)
        return True

    def why(self, key: str) -> tuple[str, str]:
        """Say why a clip failed: reason (a slug) and what the library said."""
        error = self._loader.failures[key]
        return error.reason, error.detail

    def _asked(self, keys: Sequence[str], pool: ThreadPoolExecutor) -> Callable[[], Loaded]:
        """Plan a batch of these clips; what is returned reads it."""
        requests = [self._request(slot, key, self._places.get(key, PADDING), None) for slot, key in enumerate(keys)]
        return lambda: self._loader.load(requests, len(keys), pool)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self.items.keys)}

    def plan(self, step: int, pool: ThreadPoolExecutor) -> Callable[[], Loaded]:
        """Plan this rank's part of a global batch, counted from the first of epoch 0 on; what is returned reads it."""
        return partial(self.load, self.requests(step), self.slots, pool)

    def load(self, requests: Sequence[Request], size: int, pool: ThreadPoolExecutor) -> Loaded:
        """Read requested clips into a batch of `size` slots."""
        return self._loader.load(requests, size, pool)

    def requests(self, step: int) -> list[Request]:
        """List the clips of this rank's part of a global batch, with the slots that they take."""
        epoch, index = divmod(step, self.batches_per_epoch)
        places = self._order.batch(epoch, index)
        requests = []  # `where` is the place in the global batch, `slot` that in this rank's part
        for slot, where in enumerate(range(*self._mine.indices(len(places)))):
            place = int(places[where])
            if place != PADDING:
                request = self._request(slot, self.items.keys[place], place, (self.seed, _SAMPLES, epoch, place, where))
                requests.append(self._with_fixed_view(request) if self.cfg.fixed_views else request)
        return requests

    def _with_fixed_view(self, request: Request) -> Request:
        """Choose one of the clip's fixed views, which depend on its key alone: the same in all epochs and runs."""
        view = int(np.random.default_rng(request.seed).integers(self.cfg.fixed_views))
        return replace(request, view=view, seed=(_FIXED, view, *request.key.encode()))

    def _request(self, slot: int, key: str, place: int, seed: tuple[int, ...] | None) -> Request:
        if place == PADDING:
            return Request(slot, key, NO_LABEL, False, seed)
        return Request(slot, key, int(self.items.labels[place]), bool(self.items.pseudo[place]), seed)


class Takes(Protocol[T_co]):
    """What a background thread has made, for the one who reads it."""

    def take(self) -> T_co:
        """Give it to the current stream of a GPU."""
        ...


def ahead(loads: Iterator[Callable[[], Takes[T_co]]], depth: int, producers: int) -> Iterator[T_co]:
    """Give the loads in order, run on background threads, at most `depth` finished ones waiting."""
    if depth == 0:
        yield from (load().take() for load in loads)
        return
    waiting: deque[Future[Takes[T_co]]] = deque()
    with ThreadPoolExecutor(producers, "prefetch") as producer:
        try:
            for load in loads:
                waiting.append(producer.submit(load))
                if len(waiting) > depth:
                    yield waiting.popleft().result().take()
            while waiting:
                yield waiting.popleft().result().take()
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
