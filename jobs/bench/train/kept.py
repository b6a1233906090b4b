"""Metric learning on kept frame features beside that on frames, and what a step keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.bench.race import Contender, Target, race, table_row
from finepseudo.encoders.frame_encoder import FrameEncoder, build_frame_encoder
from finepseudo.training.config import MemoryConfig
from finepseudo.training.memory import save_memory
from finepseudo.training.objectives import AlignabilityObjective
from finepseudo.training.optim import build_optimizer
from jobs.bench.data import Figure, spread
from jobs.config.recipes import load
from jobs.config.run import RunConfig
from jobs.workers.features import FeatureReader, store_of
from shards.bench.clips import make_clips
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ClipBatch, ItemTable, only_view

PER_CLASS = 2
FEATURES = Figure(target=Target(must=20, aim=50), unit="{:.1f}")
LESS = Figure(target=Target(must=0.5, aim=0.35), smaller=True)
"""Promises: times faster; the share that is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """How much is measured."""

    variant: str = "vtn"
    clips: int = 4
    frames: int = 32
    side: int = 224
    rounds: int = 3


QUICK = Extent(variant="tiny", clips=4, frames=8, side=40, rounds=1)


def recipe(extent: Extent) -> RunConfig:
    """Make the configuration of metric learning in the paper's form, on a CPU in float32."""
    overrides = [
        f"frame_encoder.variant={extent.variant}",
        "frame_encoder.precision=fp32",
        *(["frame_encoder.weights=random"] if extent.variant != "tiny" else ["frame_encoder.weights=null"]),
        "action_encoder.weights=random",
        f"frame_input.sampling.frames={extent.frames}",
        f"frame_input.augment.size={extent.side}",
        f"frame_stage.order={{batch_size: {extent.clips}, sampler: balanced}}",
        "frame_stage.features.views=1",
        "resources.workers=1",
        "reading={decode: pyav, threads: 1, prefetch: 0}",
    ]
    return load("base", ["data={name: csv}", *overrides])


@dataclass(frozen=True, slots=True)
class Epochs:
    """Metric learning over some clips, from frames or from what was kept of them."""

    cfg: RunConfig
    manifest: Manifest
    folder: Path

    def reader(self) -> ClipReader:
        """Open the clips, two of each class."""
        keys = self.manifest.keys
        labels = np.arange(len(keys), dtype=np.int32) // PER_CLASS
        items = ItemTable(keys=keys, labels=labels, pseudo=np.zeros(len(keys), np.bool_))
        stage = self.cfg.frame_stage
        read = replace(self.cfg.reader(self.cfg.frame_input.view(), order=stage.order), fixed_views=stage.kept_views)
        return ClipReader(self.manifest, items, read, seed=0)

    def objective(self) -> AlignabilityObjective:
        """Make f_A with its image encoder frozen, and f_S."""
        torch.manual_seed(0)
        encoder = build_frame_encoder(self.cfg.frame_encoder)
        encoder.freeze_image_encoder()
        return AlignabilityObjective(encoder, AlignabilityScorer(), self.cfg.frame_stage.loss)

    def from_frames(self) -> Callable[[], None]:
        """Give a call that trains for an epoch as without kept features."""
        reader = self.reader()
        return self._epoch(self.objective(), lambda: ({"labelled": batch} for batch in reader.epoch(0)))

    def from_features(self) -> Callable[[], None]:
        """Give a call that trains for an epoch on kept features; the first one makes them."""
        objective = self.objective()
        encoder = objective.encoder
        store = store_of(self.cfg, self.folder, self.manifest, encoder)
        reader = FeatureReader("labelled", self.reader(), store, encoder)
        return self._epoch(objective, lambda: _first(reader.batches(0), reader.batches_per_epoch))

    def _epoch(
        self, objective: AlignabilityObjective, batches: Callable[[], Iterator[dict[str, ClipBatch]]]
    ) -> Callable[[], None]:
        optimizer = build_optimizer(objective, self.cfg.frame_stage.train.optim)

        def call() -> None:
            for batch in batches():
                optimizer.zero_grad(set_to_none=True)
                objective(batch).loss.backward()
                optimizer.step()

        return call


def _first(batches: Iterator[dict[str, ClipBatch]], count: int) -> Iterator[dict[str, ClipBatch]]:
    yield from (next(batches) for _ in range(count))


def race_features(extent: Extent, folder: Path) -> None:
    """Compare an epoch of stage 2 on kept features with one on frames."""
    clips = make_clips(folder, extent.clips, (2 * extent.frames, 3 * extent.frames))
    work = Epochs(recipe(extent), clips.manifest, folder)
    contenders = {
        name: Contender(call=call, items=extent.clips)
        for name, call in (("frames", work.from_frames()), ("features", work.from_features()))
    }
    race(contenders, extent.rounds)
    for name, contender in contenders.items():
        table_row(f"{name}: processor seconds a clip and epoch", ["", "", *spread(contender.seconds, "{:.3f}"), ""])
    gain = contenders["features"].ratios(contenders["frames"])
    table_row("kept features / frames, times faster", FEATURES.cells(gain))


def compare_memory(extent: Extent) -> None:
    """Count what a metric step of a whole f_A keeps for its backward pass, with `recompute` and without."""
    kept = []
    for recompute in (False, True):
        torch.manual_seed(0)
        encoder: FrameEncoder = build_frame_encoder(recipe(extent).frame_encoder)
        objective = AlignabilityObjective(encoder, AlignabilityScorer(), recipe(extent).frame_stage.loss)
        save_memory(objective, MemoryConfig(recompute=recompute))
        kept.append(_kept_bytes(objective, _clips(2, min(extent.frames, 8), min(extent.side, 112))))
    share = kept[1] / kept[0]
    must, aim, middle, _, verdict = LESS.cells([share])
    words = f"{kept[1] / 1e6:.0f} of {kept[0] / 1e6:.0f} MB"
    table_row("kept for the backward pass with recompute / without", [must, aim, middle, words, verdict])


def _kept_bytes(objective: AlignabilityObjective, batch: ClipBatch) -> int:
    own = {parameter.untyped_storage().data_ptr() for parameter in objective.parameters()}
    storages: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        place = x.untyped_storage().data_ptr()
        if place not in own:
            storages[place] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = objective({"labelled": batch}).loss
    found = sum(storages.values())
    loss.backward()
    return found


def _clips(clips: int, frames: int, side: int) -> ClipBatch:
    ids = torch.zeros(clips, 1, frames, dtype=torch.int64)
    return ClipBatch(
        keys=tuple(map(str, range(clips))),
        views=only_view(torch.randn(clips, 1, frames, 3, side, side), ids),
        n_frames=torch.full((clips,), frames),
        labels=torch.arange(clips) // PER_CLASS,
        pseudo=torch.zeros(clips, dtype=torch.bool),
        valid=torch.ones(clips, dtype=torch.bool),
    )
