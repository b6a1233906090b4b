"""Frame features of f_A's frozen image encoder, computed once a clip and view and kept on disk.

An entry of the cache holds one view of one clip, [T, D] in bfloat16 behind its checksum. Its name is a hash of all that
it depends on: the weights of the image encoder, frames and augmentation, the stored clip and how it is decoded. So
nothing goes stale, and all rounds, methods and label draws that share a pre-training share it. A damaged entry is made
again; what does not fit is computed each time. Features are rounded before their first use and computed clip by clip:
a number does not depend on whether it came from the disk, nor on the clips beside it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from finepseudo.encoders.frame_encoder import FrameEncoder
from finepseudo.run_folder.layout import RunPaths
from jobs.config.build import plain
from jobs.config.run import RunConfig
from shards.read.config import ReaderConfig, ViewConfig
from shards.read.loader import Loaded, Request
from shards.read.reader import ClipReader, ahead
from shards.storage.cache import Cache
from shards.storage.config import CacheConfig
from shards.storage.manifest import Manifest
from shards.types import NO_LABEL, ClipBatch, only_view

_CHECKSUM = 4  # bytes of the CRC-32 before the numbers


class FeatureStore:
    """Kept features of one image encoder, of one kind of view, of the clips of one shard folder."""

    def __init__(self, cache: CacheConfig, manifest: Manifest, encoder: FrameEncoder, view: ViewConfig) -> None:
        """Name the entries."""
        self._cache = Cache(cache, "frame_stage.features.cache.folder")
        self._shape = (view.frames, encoder.features)
        self._size = _CHECKSUM + 2 * view.frames * encoder.features
        told = [plain(view), manifest.sha256, encoder.cfg.variant, plain(encoder.cfg.options), encoder.cfg.precision]
        self._of = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for name, value in sorted(encoder.image.state_dict().items()):
            self._of.update(name.encode())
            self._of.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())

    def find(self, key: str, view: int | None) -> Tensor | None:
        """Read the features [T, D] of a clip's fixed view, None = that of evaluation; None where they are not kept."""
        name = self._name(key, view)
        file = self._cache.find(name, self._size)
        if file is None:
            return None
        with file:
            data = bytearray(file.read())
        if len(data) != self._size or zlib.crc32(data[_CHECKSUM:]) != int.from_bytes(data[:_CHECKSUM], "big"):
            self._cache.drop(name)
            return None
        return torch.frombuffer(data, dtype=torch.bfloat16, offset=_CHECKSUM).view(self._shape)

    def keep(self, key: str, view: int | None, features: Tensor) -> Tensor:
        """Keep features [T, D] if there is room, and give them as they are read back."""
        rounded = features.to("cpu", torch.bfloat16).contiguous()
        data = rounded.view(torch.uint8).numpy().tobytes()

        def write(path: Path) -> None:
            path.write_bytes(zlib.crc32(data).to_bytes(_CHECKSUM, "big") + data)

        if file := self._cache.open(self._name(key, view), self._size, write):
            file.close()
        return rounded

    def _name(self, key: str, view: int | None) -> str:
        named = self._of.copy()
        named.update(f"\n{key}\n{view}".encode())
        return named.hexdigest()


@torch.no_grad()
def clip_features(encoder: FrameEncoder, frames: Tensor) -> Tensor:
    """Compute the features [T, D] of one clip [T, C, H, W] by itself."""
    found: Tensor = encoder.frame_features(frames[None])[0]
    return found


@dataclass(frozen=True, slots=True)
class _Read:
    """A batch under way: the features that were kept, by slot, and the frames of the other clips."""

    requests: Sequence[Request]
    kept: dict[int, Tensor]
    loaded: Loaded | None

    def take(self) -> tuple[Sequence[Request], dict[int, Tensor], ClipBatch | None]:
        """Give it to the current stream of a GPU."""
        return self.requests, self.kept, self.loaded.take() if self.loaded else None


class FeatureReader:
    """Gives a training the features of each clip's view in the place of its frames: [B, 1, T, D] a batch.

    Reads what a `ClipReader` with `fixed_views` reads; see `jobs.workers.train_loop.Reader`.
    """

    def __init__(self, name: str, reader: ClipReader, store: FeatureStore, encoder: FrameEncoder) -> None:
        """name: of the stream. The encoder may still move to its device."""
        self._name, self._reader, self._store, self._encoder = name, reader, store, encoder
        self.batches_per_epoch = reader.batches_per_epoch

    @property
    def bad(self) -> Counter[str]:
        """Count the clips that failed so far, by reason."""
        return self._reader.bad

    @property
    def fallbacks(self) -> int:
        """Count the different clips that PyAV read so far because DALI could not."""
        return self._reader.fallbacks

    @property
    def decoded(self) -> Counter[str]:
        """Count the clips read so far, by who decoded them."""
        return self._reader.decoded

    def seen(self, step: int) -> int:
        """Count the clips of the global batches before `step`, over all epochs."""
        return self._reader.seen(step)

    def batches(self, step: int) -> Generator[dict[str, ClipBatch], None, None]:
        """Yield this rank's part of the batches of `step` and of all later ones; closing it ends its threads."""
        cfg: ReaderConfig = self._reader.cfg
        with ThreadPoolExecutor(self._reader.threads, "clips") as pool:
            loads = ((lambda number=number: self._read(number, pool)) for number in count(step))
            for requests, kept, loaded in ahead(iter(loads), cfg.prefetch, 1):
                if loaded is not None:
                    kept.update(self._computed(requests, loaded))
                yield {self._name: self._batch(requests, kept)}

    def _read(self, step: int, pool: ThreadPoolExecutor) -> _Read:
        requests = self._reader.requests(step)
        found = {request.slot: self._store.find(request.key, request.view) for request in requests}
        kept = {slot: features for slot, features in found.items() if features is not None}
        missing = [request for request in requests if request.slot not in kept]
        loaded = self._reader.load(missing, self._reader.slots, pool) if missing else None
        return _Read(requests, kept, loaded)

    def _computed(self, requests: Sequence[Request], loaded: ClipBatch) -> Iterator[tuple[int, Tensor]]:
        """Compute and keep the features of the clips that were decoded, by slot."""
        device = next(self._encoder.image.parameters()).device
        for request in requests:
            if loaded.valid[request.slot]:
                frames = loaded.frames[request.slot, 0].to(device)
                features = clip_features(self._encoder, frames)
                yield request.slot, self._store.keep(request.key, request.view, features)

    def _batch(self, requests: Sequence[Request], features: dict[int, Tensor]) -> ClipBatch:
        size, (view,) = self._reader.slots, self._reader.cfg.views
        pinned = next(self._encoder.parameters()).is_cuda  # so that nobody waits while they cross
        shown = torch.zeros(size, 1, view.frames, self._encoder.features, pin_memory=pinned)
        keys, labels = [""] * size, torch.full((size,), NO_LABEL, dtype=torch.int64, pin_memory=pinned)
        n_frames = torch.zeros(size, dtype=torch.int64, pin_memory=pinned)
        pseudo, valid = (torch.zeros(size, dtype=torch.bool, pin_memory=pinned) for _ in range(2))
        for request in requests:
            slot = request.slot
            keys[slot], labels[slot], pseudo[slot] = request.key, request.label, request.pseudo
            n_frames[slot] = self._reader.manifest.row(request.key).n_frames
            if slot in features:
                shown[slot, 0], valid[slot] = features[slot].float(), True
        ids = torch.zeros(size, 1, view.frames, dtype=torch.int64, pin_memory=pinned)
        return ClipBatch(
            keys=tuple(keys),
            views=only_view(shown, ids),
            n_frames=n_frames,
            labels=labels,
            pseudo=pseudo,
            valid=valid,
        )


def store_of(cfg: RunConfig, run: Path, manifest: Manifest, encoder: FrameEncoder) -> FeatureStore:
    """Open the store of what f_A sees in metric learning and when embedding; run: the run folder."""
    cache = cfg.frame_stage.features.cache
    if not cache.folder:
        cache = replace(cache, folder=str(RunPaths(run).features))
    return FeatureStore(cache, manifest, encoder, cfg.frame_input.view())
