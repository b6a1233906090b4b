"""From requested clips to one batch of tensors: read, decode, transform; a failing clip leaves its slot masked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shards.errors import SampleError, UserError
from shards.read.config import ReaderConfig, ViewConfig
from shards.read.dali_graph import ClipGraph, GraphSpec, Sample, at_places, without_dali
from shards.read.decode import CLOSED_GOP_PROFILES, choose_decoder, wanted_frames
from shards.read.faults import DecodeError, judged
from shards.read.nvdec import mistaken
from shards.read.resize import views_of
from shards.read.shares import DALI, PYAV, Shares
from shards.read.torch_views import TorchViews
from shards.read.views import DrawnView, draw_views
from shards.storage.manifest import Manifest, ManifestRow
from shards.types import NO_LABEL, ClipBatch, Origin, View

MIN_BAD_CLIPS = 3
"""A run never stops for fewer failing clips than this, however small the data set."""


@dataclass(frozen=True, slots=True)
class Request:
    """A clip wanted in a batch: its slot, key, label, and the seed of its own generator (none = evaluation).

    view: which of the clip's fixed views it is, where it has such.
    """

    slot: int
    key: str
    label: int
    pseudo: bool
    seed: tuple[int, ...] | None
    view: int | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request whose views are drawn and whose bytes are read, and decoded where DALI does not."""

    request: Request
    views: Sequence[DrawnView]
    sample: Sample
    encoded: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """A batch, and the event after which a GPU's other streams may read it."""

    batch: ClipBatch
    ready: torch.cuda.Event | None = None

    def take(self) -> ClipBatch:
        """Give the batch to the current stream, which waits for it; the host does not."""
        if self.ready is not None:
            for view in self.batch.views.values():
                stream = torch.cuda.current_stream(view.frames.device)
                stream.wait_event(self.ready)
                view.frames.record_stream(stream)
        return self.batch


class ClipLoader:
    """Loads batches of requested clips and keeps count of those that fail. Several threads may call `load`."""

    def __init__(
        self, manifest: Manifest, cfg: ReaderConfig, *, threads: int, chunk: int, total: int, device: torch.device | str
    ) -> None:
        """Settle the decoder. `chunk`: clips that go through a graph at once; `total`: clips that may be read.

        threads: those of one graph.

        UserError when the decoder cannot work here, or DALI is not installed and a GPU is to be used.
        """
        self.manifest, self.cfg, self.chunk, self.total = manifest, cfg, chunk, total
        self.threads, self.device = threads, torch.device(device)
        self.decoder = choose_decoder(cfg.decode, manifest.codecs, self.device, repeatable=cfg.repeatable)
        if without_dali(cfg.decode, self.decoder.by_dali, self.device) and self.decoder.by_dali:
            self.decoder = choose_decoder("pyav", manifest.codecs, self.device)
        self.failures: dict[str, SampleError] = {}
        self.by_pyav: dict[str, str] = {}
        self.shares = Shares()
        self._takes = [view.augment for view in cfg.views for _ in range(view.takes)]
        self._closed = manifest.profile in CLOSED_GOP_PROFILES
        self._idle: dict[tuple[bool, bool], list[ClipGraph | TorchViews]] = {}
        self._building, self._decoding = threading.Lock(), threading.Lock()
        self._local = threading.local()

    def load(self, requests: Sequence[Request], size: int, pool: ThreadPoolExecutor) -> Loaded:
        """Decode and transform the requested clips into a batch of `size` slots.

        A GPU does so on a stream of this thread's own, beside the training. UserError when memory does not suffice or
        too many clips fail.
        """
        if self.device.type != "cuda":
            return Loaded(self._load(requests, size, pool))
        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._local.stream):
            return Loaded(self._load(requests, size, pool), self._local.stream.record_event())

    def _load(self, requests: Sequence[Request], size: int, pool: ThreadPoolExecutor) -> ClipBatch:
        try:
            batch = self._empty(size, requests)
        except torch.OutOfMemoryError as error:
            raise judged(error, self.device) from error
        for begin in range(0, len(requests), self.chunk):
            self._fill(batch, requests[begin : begin + self.chunk], pool)
        for slot, valid in enumerate(batch.valid.tolist()):
            if not valid:
                for place in _slot(batch, slot):
                    place.zero_()
        self._refuse_too_many()
        return batch

    def _fill(self, batch: ClipBatch, requests: Sequence[Request], pool: ThreadPoolExecutor) -> None:
        """Put clips into their slots; a failing one leaves zeros and `valid` False."""
        to_dali, to_pyav = self._shared_out(requests)
        read = [pool.submit(self._prepare, request, encoded=True) for request in to_dali]
        decoded = [pool.submit(self._prepare, request, encoded=False) for request in to_pyav]
        self._put(self._transform(_prepared(read), batch), batch)  # DALI decodes on this thread, PyAV on the pool's
        self._put(self._transform(_prepared(decoded), batch), batch)

    def _shared_out(self, requests: Sequence[Request]) -> tuple[list[Request], list[Request]]:
        """Part the requests: what DALI decodes, and what PyAV does."""
        to_dali = [request for request in requests if self._dali_can(request)]
        if self.decoder.shared:
            to_dali = to_dali[: self.shares.of(len(requests))]
        slots = {request.slot for request in to_dali}
        return to_dali, [request for request in requests if request.slot not in slots]

    def _dali_can(self, request: Request) -> bool:
        """Tell whether DALI can decode a clip; where another one cannot be given to it, that is noted."""
        if not self.decoder.by_dali or request.key in self.by_pyav:
            return False
        row = self.manifest.row(request.key)
        if not self.decoder.takes(row.codec, row.width, row.height):
            self.by_pyav[request.key] = f"{row.codec} {row.width}x{row.height} is nothing for the video engine"
        elif self.decoder.dali_device == "mixed" and mistaken(row.width, row.height, self.manifest.sizes):
            self.by_pyav[request.key] = f"{row.width}x{row.height} would be decoded as a larger clip beside it is"
        return request.key not in self.by_pyav

    def _put(self, clips: Sequence[_Prepared], batch: ClipBatch) -> None:
        """Note of clips whose pixels are in the batch what was seen of them, and who decoded them."""
        for clip in clips:
            self.shares.count(DALI if clip.encoded else PYAV)
            batch.valid[clip.request.slot] = True
            for view, drawn in zip(batch.views.values(), clip.views, strict=True):
                crops = view.frame_ids.shape[1] // len(drawn.ids)
                view.frame_ids[clip.request.slot] = torch.from_numpy(drawn.ids).repeat_interleave(crops, dim=0)
                if view.origin is not None:
                    edges = [place.edges(clip.sample.height, clip.sample.width) for place in drawn.params]
                    view.origin.edges[clip.request.slot] = torch.from_numpy(np.stack(edges))

    def _transform(self, clips: list[_Prepared], batch: ClipBatch) -> list[_Prepared]:
        """Run a graph into the clips' slots of every view; give the clips that could be read.

        When DALI fails to decode, it is run clip by clip, and what it cannot read PyAV is asked for.
        """
        if not clips:
            return []
        try:
            with self._graph(random=clips[0].request.seed is not None, encoded=clips[0].encoded) as graph:
                samples, out = [clip.sample for clip in clips], [_slot(batch, clip.request.slot) for clip in clips]
                if clips[0].encoded and self.decoder.shared:
                    self._run_timed(graph, samples, out)
                else:
                    graph.run(samples, out)
        except DecodeError as error:
            if len(clips) > 1:
                return [good for clip in clips for good in self._transform([clip], batch)]
            self.by_pyav[clips[0].request.key] = str(error)
            again = self._prepare(clips[0].request, encoded=False)
            return self._transform([again], batch) if again is not None else []
        return clips

    def _run_timed(
        self, graph: ClipGraph | TorchViews, samples: Sequence[Sample], out: Sequence[Sequence[Tensor]]
    ) -> None:
        """Run a graph that decodes when no other one does, and note how long it took."""
        with self._decoding:
            began = time.perf_counter()
            graph.run(samples, out)
            self.shares.dali_took(len(samples), time.perf_counter() - began)

    def _prepare(self, request: Request, *, encoded: bool) -> _Prepared | None:
        """Get a clip ready for a graph, `encoded` where DALI decodes it; None where it fails, which is noted."""
        row, began = self.manifest.row(request.key), time.perf_counter()
        try:
            drawn = draw_views(self.cfg.views, row.n_frames, request.seed)
            clip = _Prepared(request, drawn, self._sample(row, drawn, encoded=encoded), encoded)
        except SampleError as error:
            self.failures[request.key] = error
            return None
        if not encoded:
            self.shares.pyav_took(time.perf_counter() - began, self.threads)
        return clip

    def _sample(self, row: ManifestRow, drawn: Sequence[DrawnView], *, encoded: bool) -> Sample:
        """Read a clip, and decode all frames of its views in one go unless it is to stay encoded."""
        params = [place for view in drawn for place in view.params]
        takes = [take for view in drawn for take in view.ids]
        ids = np.unique(np.concatenate(takes))
        if ids[-1] >= row.n_frames:
            raise SampleError(row.key, "too_few_frames", f"frame {ids[-1]} of {row.n_frames}")
        stored = self.manifest.read(row.key)
        orders = [np.searchsorted(ids, take).astype(np.int32) for take in takes]
        if encoded:
            data = [np.frombuffer(stored, np.uint8)]
        else:
            frames = wanted_frames(row.key, stored, ids.tolist(), closed_gops=self._closed)
            sizes = [cfg.size for cfg in at_places(self._takes, self._takes)]
            data = views_of(frames, at_places(self._takes, orders), params, sizes)
        return Sample(data=data, ids=ids, orders=orders, params=params, height=row.height, width=row.width)

    @contextmanager
    def _graph(self, *, random: bool, encoded: bool) -> Iterator[ClipGraph | TorchViews]:
        """Lend an idle graph, or a new one when several loads run at once; each has decoders of its own."""
        spec = GraphSpec(
            batch_size=self.chunk,
            threads=self.threads,
            takes=self._takes,
            random=random,
            decoder=self.decoder.dali_device if encoded else None,
            device=self.device,
        )
        with self._building:
            idle = self._idle.setdefault((random, encoded), [])
            graph = idle.pop() if idle else TorchViews(spec) if spec.all_on_cpu else ClipGraph(spec)
        try:
            yield graph
        finally:
            idle.append(graph)

    def _empty(self, size: int, requests: Sequence[Request]) -> ClipBatch:
        """Make a batch whose slots are all invalid, with the labels of the requested clips."""
        pinned = self.device.type == "cuda"  # so that nobody has to wait while these small tensors cross
        batch = ClipBatch(
            keys=_keys(size, requests),
            views={view.name: self._empty_view(size, view) for view in self.cfg.views},
            n_frames=torch.zeros(size, dtype=torch.int64, pin_memory=pinned),
            labels=torch.full((size,), NO_LABEL, dtype=torch.int64, pin_memory=pinned),
            pseudo=torch.zeros(size, dtype=torch.bool, pin_memory=pinned),
            valid=torch.zeros(size, dtype=torch.bool),
        )
        for request in requests:
            batch.n_frames[request.slot] = self.manifest.row(request.key).n_frames
            batch.labels[request.slot] = request.label
            batch.pseudo[request.slot] = request.pseudo
        return batch

    def _empty_view(self, size: int, view: ViewConfig) -> View:
        side, shape = view.augment.size, (size, view.count, view.frames)
        ids = torch.zeros(shape, dtype=torch.int64, pin_memory=self.device.type == "cuda")
        origin = Origin(ids, torch.zeros(*shape[:2], 4))
        return View(torch.empty(*shape, 3, side, side, device=self.device), ids, origin)

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


def _prepared(clips: Sequence[Future[_Prepared | None]]) -> list[_Prepared]:
    """Wait for clips, and leave out what has failed."""
    return [clip for future in clips if (clip := future.result()) is not None]


def _slot(batch: ClipBatch, slot: int) -> list[Tensor]:
    """List where the places of one clip go, each [T, C, H, W]."""
    return [place for view in batch.views.values() for place in view.frames[slot]]


def _keys(size: int, requests: Sequence[Request]) -> tuple[str, ...]:
    """Name the clip of each slot; padding has the empty name."""
    keys = [""] * size
    for request in requests:
        keys[request.slot] = request.key
    return tuple(keys)
