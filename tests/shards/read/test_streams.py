"""Several streams of clips side by side: each goes through its own passes, on any number of ranks, from any step."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.errors import UserError
from shards.read import cores
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.decode import DecoderChoice
from shards.read.reader import PRODUCERS, ClipReader
from shards.read.streams import StreamInput, StreamReader
from shards.read.torch_views import TorchViews
from shards.storage.manifest import Manifest
from shards.types import NO_LABEL, ClipBatch, ItemTable
from tests.shards.numbered import write

KEYS = [f"clip{i:02d}" for i in range(12)]
SEEN = AugmentConfig(size=16)
VIEWS = (
    ViewConfig(name="weak", sampling=SamplingConfig(frames=2), augment=SEEN),
    ViewConfig(name="strong", sampling=SamplingConfig(frames=3), augment=replace(SEEN, size=24), augment_as="weak"),
)
Batches = list[dict[str, ClipBatch]]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write(tmp_path_factory.mktemp("h264"), dict.fromkeys(KEYS, 8), "h264")


def labelled(count: int, batch: int, sampler: str = "shuffle", classes: int = 3) -> StreamInput:
    items = ItemTable(
        keys=KEYS[:count], labels=np.arange(count, dtype=np.int32) % classes, pseudo=np.zeros(count, np.bool_)
    )
    order = OrderConfig(batch_size=batch, sampler=sampler)  # type: ignore[arg-type]
    view = ViewConfig(sampling=SamplingConfig(frames=2), augment=SEEN)
    return StreamInput(items=items, reader=ReaderConfig(order=order, views=(view,), threads=1, prefetch=1))


def pool(count: int, batch: int) -> StreamInput:
    items = ItemTable.unlabelled(KEYS[len(KEYS) - count :])
    return StreamInput(items=items, reader=ReaderConfig(order=OrderConfig(batch_size=batch), views=VIEWS))


def read(manifest: Manifest, streams: dict[str, StreamInput], first: int, count: int, **where: Any) -> Batches:
    return list(islice(StreamReader(manifest, streams, seed=4, **where).batches(first), count))


def clips(batches: Batches, stream: str) -> list[str]:
    return [key for batch in batches for key in batch[stream].keys if key]


def content(parts: list[ClipBatch]) -> dict[str, Any]:
    """Give what the ranks hold of a global batch, without the empty slots."""
    used = [[slot for slot, key in enumerate(part.keys) if key] for part in parts]
    tensors = {
        f"{name} {what}": torch.cat([getattr(p.views[name], what)[slots] for p, slots in zip(parts, used, strict=True)])
        for name in parts[0].views
        for what in ("frames", "frame_ids")
    }
    for what in ("labels", "n_frames", "valid"):
        tensors[what] = torch.cat([getattr(p, what)[slots] for p, slots in zip(parts, used, strict=True)])
    return {"keys": [p.keys[slot] for p, slots in zip(parts, used, strict=True) for slot in slots], **tensors}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) if k != "keys" else a[k] == b[k] for k in a)


@settings(max_examples=10, deadline=None)
@given(
    few=st.integers(2, 6),
    many=st.integers(1, 12),
    batches=st.tuples(st.integers(1, 5), st.integers(1, 7)),
    start=st.integers(0, 4),
)
def test_every_stream_keeps_its_passes_on_any_ranks_from_any_step(
    manifest: Manifest, few: int, many: int, batches: tuple[int, int], start: int
) -> None:
    streams = {"labelled": labelled(few, batches[0]), "unlabelled": pool(many, batches[1])}
    passes = {"labelled": -(-few // batches[0]), "unlabelled": -(-many // batches[1])}
    steps = max(2 * max(passes.values()), start + 2)
    whole = read(manifest, streams, 0, steps)
    for name, length in passes.items():
        for lap in range(steps // length):
            read_once = Counter(clips(whole[lap * length : (lap + 1) * length], name))
            assert read_once == Counter(streams[name].items.keys)
    for world in (1, 2, 3):
        ranks = [read(manifest, streams, start, steps - start, rank=r, world=world) for r in range(world)]
        for number, alone in enumerate(whole[start:]):
            for name in streams:
                parts = [rank[number][name] for rank in ranks]
                assert len({len(part.keys) for part in parts}) == 1
                assert same(content(parts), content([alone[name]]))
    assert all((batch["unlabelled"].labels == NO_LABEL).all() for batch in whole)


def test_the_leading_stream_is_what_one_reader_reads_and_the_others_change_nothing(manifest: Manifest) -> None:
    first = labelled(5, 2)
    both = {"labelled": first, "unlabelled": pool(10, 3)}
    alone = ClipReader(manifest, first.items, first.reader, seed=4)
    expected = [batch for epoch in range(2) for batch in alone.epoch(epoch)]
    reader = StreamReader(manifest, both, seed=4)
    assert reader.batches_per_epoch == alone.batches_per_epoch == 3
    got = list(islice(reader.batches(), 6))
    assert all(same(content([g["labelled"]]), content([e])) for g, e in zip(got, expected, strict=True))
    more = read(manifest, {"labelled": first, "again": pool(10, 3), "unlabelled": pool(10, 3)}, 0, 6)
    assert all(same(content([g["unlabelled"]]), content([m["unlabelled"]])) for g, m in zip(got, more, strict=True))
    assert clips(more, "again") != clips(more, "unlabelled")
    assert list(more[0]) == ["labelled", "again", "unlabelled"]


@pytest.mark.parametrize("world", [1, 2])
def test_the_clips_that_were_seen_are_those_of_the_batches_of_all_ranks(manifest: Manifest, world: int) -> None:
    streams = {"labelled": labelled(5, 2), "unlabelled": pool(10, 4), "empty": pool(0, 2)}
    ranks = [read(manifest, streams, 0, 7, rank=rank, world=world) for rank in range(world)]
    valid = [sum(int(part.valid.sum()) for rank in ranks for part in rank[step].values()) for step in range(7)]
    reader = StreamReader(manifest, streams, seed=4, rank=0, world=world)
    assert [reader.seen(step) for step in range(8)] == [sum(valid[:step]) for step in range(8)]


def test_a_sampler_of_its_own_and_a_single_class(manifest: Manifest) -> None:
    streams = {"labelled": labelled(4, 6, "balanced", classes=1), "unlabelled": pool(7, 2)}
    for batch in read(manifest, streams, 0, 5):
        assert batch["labelled"].labels.tolist() == [0] * 6
        assert batch["labelled"].valid.all()
        assert batch["labelled"].frames.shape == (6, 1, 2, 3, 16, 16)
        assert batch["unlabelled"].views["strong"].frames.shape == (2, 1, 3, 3, 24, 24)


@pytest.mark.parametrize("world", [1, 2])
def test_an_empty_pool_gives_masked_batches(manifest: Manifest, world: int) -> None:
    streams = {"labelled": labelled(4, 2), "unlabelled": pool(0, 3)}
    for batch in read(manifest, streams, 3, 3, rank=world - 1, world=world):
        assert batch["labelled"].valid.all()
        assert batch["unlabelled"].keys == ("",) * -(-3 // world)
        assert not batch["unlabelled"].valid.any()
        assert not batch["unlabelled"].views["weak"].frames.any()
    with pytest.raises(UserError, match=r"stream labelled: there is no clip to read"):
        StreamReader(manifest, {"labelled": pool(0, 3), "unlabelled": pool(3, 3)}, seed=0)


def test_several_steps_in_the_making_change_nothing(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = labelled(5, 2)
    streams = {"labelled": replace(first, reader=replace(first.reader, prefetch=3)), "unlabelled": pool(7, 3)}
    alone = read(manifest, streams, 0, 8)
    real, running, at_once = TorchViews.run, Counter[TorchViews](), set()

    def run(self: TorchViews, *args: Any) -> None:
        running[self] += 1
        time.sleep(0.02)  # long enough for another thread to come by
        at_once.add((running[self], running.total() > 1))
        real(self, *args)
        running[self] -= 1

    monkeypatch.setattr(TorchViews, "run", run)
    monkeypatch.setitem(PRODUCERS, "cpu", 3)
    for one, other in zip(alone, read(manifest, streams, 0, 8), strict=True):
        assert all(same(content([one[name]]), content([other[name]])) for name in streams)
    assert {graph for graph, _ in at_once} == {1}
    assert any(several for _, several in at_once)


def test_clips_that_pyav_reads_for_dali_are_counted_over_all_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vp9 = write(tmp_path, dict.fromkeys(KEYS, 8), "vp9")
    reader = StreamReader(vp9, {"labelled": labelled(4, 2), "unlabelled": pool(3, 3), "empty": pool(0, 2)}, seed=0)
    monkeypatch.setattr(DecoderChoice, "takes", lambda *_: False)
    batches = reader.batches()
    assert all(batch["labelled"].valid.all() and batch["unlabelled"].valid.all() for batch in islice(batches, 2))
    batches.close()
    assert reader.fallbacks == 7
    assert not reader.bad


def test_streams_share_the_cores_of_the_machine(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "available_cores", lambda: 8)
    first = labelled(12, 12)
    streams = {"labelled": replace(first, reader=replace(first.reader, threads="auto", prefetch=0))}
    batches = StreamReader(manifest, streams, seed=0, sharers=2).batches()
    next(batches)
    assert sum(thread.name.startswith("clips") for thread in threading.enumerate()) <= 3
    batches.close()


def test_a_refusal_names_the_stream(manifest: Manifest) -> None:
    strange = StreamInput(items=ItemTable.unlabelled(["nobody"]), reader=pool(1, 1).reader)
    with pytest.raises(UserError, match=r"stream unlabelled: 1 of 1 clips are not in the shards"):
        StreamReader(manifest, {"labelled": labelled(4, 2), "unlabelled": strange}, seed=0)


def test_leaving_early_ends_the_threads(manifest: Manifest) -> None:
    before = threading.active_count()
    batches = StreamReader(manifest, {"labelled": labelled(4, 2), "unlabelled": pool(8, 4)}, seed=0).batches()
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before
