"""From requested clips to one batch of tensors: read, decode, transform; a failing clip leaves its slot masked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shards.errors import SampleError, UserError
from shards.read.augment import draw
from shards.read.config import ReaderConfig
from shards.read.dali_graph import ClipGraph, GraphSpec, Sample, import_dali
from shards.read.decode import CLOSED_GOP_PROFILES, choose_decoder, wanted_frames
from shards.read.faults import DecodeError, judged
from shards.read.resize import views_of
from shards.read.sampling import frame_indices
from shards.storage.manifest import Manifest
from shards.types import NO_LABEL, ClipBatch

MIN_BAD_CLIPS = 3
"""A run never stops for fewer failing clips than this, however small the data set."""


@dataclass(frozen=True, slots=True)
class Request:
    """A clip wanted in a batch: its slot, key, label, and the seed of its own generator (none = evaluation)."""

    slot: int
    key: str
    label: int
    pseudo: bool
    seed: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request whose frames and parameters are drawn and whose bytes are read."""

    request: Request
    sample: Sample


class ClipLoader:
    """Loads batches of requested clips and keeps count of those that fail. `load` may be called from two threads."""

    def __init__(
        self, manifest: Manifest, cfg: ReaderConfig, *, chunk: int, total: int, device: torch.device | str
    ) -> None:
        """Settle the decoder. `chunk`: clips that go through the graph at once; `total`: clips that may be read.

        UserError when the decoder cannot work here or DALI is not installed.
        """
        import_dali()
        self.manifest, self.cfg, self.chunk, self.total = manifest, cfg, chunk, total
        self.device = torch.device(device)
        self.decoder = choose_decoder(cfg.decode, manifest.codecs, self.device)
        self.failures: dict[str, SampleError] = {}
        self._closed = manifest.profile in CLOSED_GOP_PROFILES
        self._graphs: dict[bool, ClipGraph] = {}
        self._graph_lock = threading.Lock()

    def load(self, requests: Sequence[Request], size: int, pool: ThreadPoolExecutor) -> ClipBatch:
        """Decode and transform the requested clips into a batch of `size` slots.

        UserError when memory does not suffice or too many clips fail.
        """
        try:
            batch = self._empty(size, requests)
        except torch.OutOfMemoryError as error:
            raise judged(error, self.device) from error
        for begin in range(0, len(requests), self.chunk):
            self._fill(batch, requests[begin : begin + self.chunk], pool)
        batch.frames[~batch.valid.to(self.device)] = 0
        self._refuse_too_many()
        return batch

    def _fill(self, batch: ClipBatch, requests: Sequence[Request], pool: ThreadPoolExecutor) -> None:
        """Put clips into their slots; a failing one leaves zeros and `valid` False."""
        prepared: list[_Prepared] = []
        for request, result in zip(requests, pool.map(self._prepare, requests), strict=True):
            if isinstance(result, SampleError):
                self.failures[request.key] = result
            else:
                prepared.append(_Prepared(request, result))
        if not prepared:
            return
        for clip in self._transform(prepared, batch.frames, random=requests[0].seed is not None):
            slot, ids = clip.request.slot, torch.from_numpy(clip.sample.ids[clip.sample.order])
            batch.valid[slot] = True
            batch.frame_ids[slot] = ids.repeat_interleave(self.cfg.augment.crops, dim=0)

    def _transform(self, clips: list[_Prepared], frames: Tensor, *, random: bool) -> list[_Prepared]:
        """Run the graph into the clips' slots of frames [B, V, T, C, H, W]; give the clips that could be read.

        When DALI fails to decode, it is run clip by clip.
        """
        with self._graph_lock:
            graph = self._graph(random=random)
            try:
                graph.run([clip.sample for clip in clips], [frames[clip.request.slot] for clip in clips])
            except DecodeError as error:
                if len(clips) == 1:
                    key = clips[0].request.key
                    self.failures[key] = SampleError(key, "decode_error", str(error) or self.decoder.name)
                    return []
            else:
                return clips
        return [good for clip in clips for good in self._transform([clip], frames, random=random)]

    def _prepare(self, request: Request) -> Sample | SampleError:
        """Draw a clip's frames and parameters, read it, and decode it unless DALI does."""
        cfg, row = self.cfg, self.manifest.row(request.key)
        rng = None if request.seed is None else np.random.default_rng(request.seed)
        try:
            chosen = frame_indices(row.n_frames, cfg.sampling, rng)
            params = [draw(cfg.augment, rng, view) for view in range(cfg.views)]
            ids, inverse = np.unique(chosen, return_inverse=True)
            if ids[-1] >= row.n_frames:
                raise SampleError(request.key, "too_few_frames", f"frame {ids[-1]} of {row.n_frames}")
            encoded = self.manifest.read(request.key)
            order = inverse.reshape(chosen.shape).astype(np.int32)
            if self.decoder.by_dali:
                data = [np.frombuffer(encoded, np.uint8)]
            else:
                frames = wanted_frames(request.key, encoded, ids.tolist(), closed_gops=self._closed)
                data = views_of(frames, order.repeat(cfg.augment.crops, axis=0), params, cfg.augment.size)
        except SampleError as error:
            return error
        return Sample(data=data, ids=ids, order=order, params=params, height=row.height, width=row.width)

    def _graph(self, *, random: bool) -> ClipGraph:
        if random not in self._graphs:
            spec = GraphSpec(
                batch_size=self.chunk,
                threads=self.cfg.threads,
                views=self.cfg.sampling.count,
                augment=self.cfg.augment,
                random=random,
                decoder=self.decoder.dali_device,
                device=self.device,
            )
            self._graphs[random] = ClipGraph(spec)
        return self._graphs[random]

    def _empty(self, size: int, requests: Sequence[Request]) -> ClipBatch:
        """Make a batch whose slots are all invalid, with the labels of the requested clips."""
        cfg = self.cfg
        side, frames = cfg.augment.size, cfg.sampling.frames
        batch = ClipBatch(
            keys=_keys(size, requests),
            frames=torch.empty(size, cfg.views, frames, 3, side, side, device=self.device),
            frame_ids=torch.zeros(size, cfg.views, frames, dtype=torch.int64),
            n_frames=torch.zeros(size, dtype=torch.int64),
            labels=torch.full((size,), NO_LABEL, dtype=torch.int64),
            pseudo=torch.zeros(size, dtype=torch.bool),
            valid=torch.zeros(size, dtype=torch.bool),
        )
        for request in requests:
            batch.n_frames[request.slot] = self.manifest.row(request.key).n_frames
            batch.labels[request.slot] = request.label
            batch.pseudo[request.slot] = request.pseudo
        return batch

    def _refuse_too_many(self) -> None:
        """Stop the run when more clips fail than the config allows."""
        count, total = len(self.failures), self.total
        if count < MIN_BAD_CLIPS or count <= self.cfg.max_bad_fraction * total:
            return
        first = "; ".join(str(error) for error in list(self.failures.values())[:10])
        raise UserError(
            f"{count} of {total} clips cannot be read, more than max_bad_fraction = {self.cfg.max_bad_fraction} "
            f"allows; write the shards again or raise the limit. The first: {first}"
        )


def _keys(size: int, requests: Sequence[Request]) -> tuple[str, ...]:
    """Name the clip of each slot; padding has the empty name."""
    keys = [""] * size
    for request in requests:
        keys[request.slot] = request.key
    return tuple(keys)
