"""Views of a clip: what a second one costs where the clip is decoded once, and where it wants other frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from shards.bench.reading import BATCH, FRAMES, exhaust
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ItemTable

ONE, ALIKE = "one view", "two views augmented alike"
SAME, OTHER = "a weak and a strong view of the same frames", "a weak and a strong view of other frames"


def contenders(
    manifest: Manifest, keys: Sequence[str], size: int, strong: AugmentConfig
) -> dict[str, Callable[[], None]]:
    """Build readers of all clips, one thread each, nothing ahead: the weak view, another one, `strong` beside it."""
    weak = ViewConfig(name="weak", sampling=SamplingConfig(frames=FRAMES), augment=AugmentConfig(size=size))
    other = replace(weak, name="strong", augment=strong)
    again = replace(weak, name="again", frames_as="weak")
    views = {ONE: (weak,), ALIKE: (weak, again), SAME: (weak, replace(other, frames_as="weak")), OTHER: (weak, other)}
    return {name: _reading(manifest, keys, some) for name, some in views.items()}


def _reading(manifest: Manifest, keys: Sequence[str], views: tuple[ViewConfig, ...]) -> Callable[[], None]:
    cfg = ReaderConfig(order=OrderConfig(batch_size=BATCH), views=views, decode="pyav", threads=1, prefetch=0)
    reader = ClipReader(manifest, ItemTable.unlabelled(keys), cfg, seed=0)
    return lambda: exhaust(reader)
