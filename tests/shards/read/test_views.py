"""Named views of a clip: all from one decode, each as it would be alone, sharing random numbers only where told to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.read import loader
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.groups import group_slots, group_views
from shards.read.reader import ClipReader
from shards.read.views import distinct_places, draw_views
from shards.storage.manifest import Manifest
from shards.types import ClipBatch, ItemTable
from tests.shards.numbered import number
from tests.shards.read.read_clips import damage

LENGTHS = {f"clip{i}": (18, 5, 40, 1, 31, 29)[i] for i in range(6)}
KEYS = list(LENGTHS)
STILL = AugmentConfig(size=64, scale=(1, 1), ratio=(1, 1), flip=0, mean=(0, 0, 0), std=(1, 1, 1))
WEAK = ViewConfig(name="weak", sampling=SamplingConfig(frames=6), augment=AugmentConfig(size=32))
STRONG = ViewConfig(
    name="strong", sampling=SamplingConfig(policy="dense", frames=4, stride=2), augment=AugmentConfig.carl_ssl(size=48)
)
GROUPS = ViewConfig(
    name="strong",
    sampling=SamplingConfig(policy="groups", frames=8, groups=(2, 2, 4)),
    augment=AugmentConfig.carl_ssl(size=24),
)


def reader(manifest: Manifest, *views: ViewConfig, **changes: Any) -> ClipReader:
    cfg = ReaderConfig(order=OrderConfig(batch_size=4), views=views, threads=1, prefetch=0, **changes)
    return ClipReader(manifest, ItemTable.unlabelled(KEYS), cfg, seed=3)


def both(manifest: Manifest, *views: ViewConfig) -> list[ClipBatch]:
    """Read an epoch and, as evaluation sees them, all clips."""
    read = reader(manifest, *views)
    return [*read.epoch(1), read.read(KEYS)]


@pytest.mark.parametrize("turn", [1, -1])
def test_two_views_of_one_decode_equal_two_decodes(manifest: Manifest, turn: int) -> None:
    together = both(manifest, *(WEAK, STRONG)[::turn])
    for view in (WEAK, STRONG):
        for batch, alone in zip(together, both(manifest, view), strict=True):
            assert batch.keys == alone.keys
            assert torch.equal(batch.valid, alone.valid)
            assert torch.equal(batch.views[view.name].frames, alone.frames)
            assert torch.equal(batch.views[view.name].frame_ids, alone.frame_ids)
    assert list(together[0].views) == ["weak", "strong"][::turn]
    assert together[0].views["weak"].frames.shape == (4, 1, 6, 3, 32, 32)
    assert together[0].views["strong"].frames.shape == (4, 1, 4, 3, 48, 48)


def test_a_clip_is_decoded_once_for_all_views(h264: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Counter[str] = Counter()
    wanted: dict[str, list[int]] = {}

    def counted(key: str, data: bytes, ids: list[int], **rest: Any) -> Any:
        decoded[key] += 1
        wanted[key] = ids
        return real(key, data, ids, **rest)

    real = loader.wanted_frames
    monkeypatch.setattr(loader, "wanted_frames", counted)
    batches = list(reader(h264, WEAK, STRONG, *group_views(replace(GROUPS, name="parts"))).epoch(0))
    assert decoded == Counter(KEYS)
    for batch in batches:
        for slot, key in enumerate(batch.keys):
            shown = [view.frame_ids[slot].flatten() for view in batch.views.values()]
            assert not key or wanted[key] == torch.cat(shown).unique().tolist()


_SAMPLING = st.one_of(
    st.builds(SamplingConfig, frames=st.integers(1, 9), views=st.integers(1, 2)),
    st.builds(SamplingConfig, policy=st.just("dense"), frames=st.integers(1, 9), stride=st.integers(1, 3)),
    st.builds(SamplingConfig, policy=st.just("gitdl"), frames=st.integers(8, 9)),
    st.just(GROUPS.sampling),
)


@settings(max_examples=12, deadline=None)
@given(samplings=st.lists(_SAMPLING, min_size=1, max_size=4), crops=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_every_view_shows_the_frames_that_it_names(
    h264: Manifest, samplings: list[SamplingConfig], crops: Any, seed: int
) -> None:
    augment = replace(STILL, crops=crops)
    views = [ViewConfig(name=f"v{i}", sampling=s, augment=augment) for i, s in enumerate(samplings)]
    cfg = ReaderConfig(order=OrderConfig(batch_size=6), views=tuple(views), threads=1, prefetch=0)
    (batch,) = ClipReader(h264, ItemTable.unlabelled(KEYS), cfg, seed=seed).epoch(0)
    for view in views:
        got = batch.views[view.name]
        assert got.frame_ids.shape == (6, view.count, view.sampling.frames)
        for slot, key in enumerate(batch.keys):
            assert 0 <= int(got.frame_ids[slot].min()) <= int(got.frame_ids[slot].max()) < LENGTHS[key]
            for v in range(view.count):
                images = got.frames[slot, v].permute(0, 2, 3, 1).numpy()
                assert [number(image) for image in images] == got.frame_ids[slot, v].tolist()


@settings(deadline=None)
@given(
    groups=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    n=st.integers(1, 90),
    seed=st.none() | st.integers(0, 99),
    share=st.booleans(),
)
def test_groups_of_a_clip_are_drawn_together(groups: list[int], n: int, seed: int | None, share: bool) -> None:
    sampling = SamplingConfig(policy="groups", frames=sum(groups), groups=tuple(groups))
    parts = group_views(replace(GROUPS, sampling=sampling), share_augment=share)
    drawn = draw_views(parts, n, None if seed is None else (seed,))
    assert [view.name for view in parts] == [f"strong.{i}" for i in range(len(groups))]
    assert [view.frames for view in parts] == groups
    assert [part.ids.shape for part in drawn] == [(1, size) for size in groups]
    if n >= sum(groups):
        edges = np.floor(np.arange(sum(groups) + 1) * n / sum(groups) + 0.5)
        for part, slots in zip(drawn, group_slots(groups, sum(groups)), strict=True):
            assert (np.searchsorted(edges, part.ids[0], side="right") - 1).tolist() == slots
    places = {(p.area, p.ratio, p.x, p.y, p.flip, p.sigma, p.colour.tobytes()) for d in drawn for p in d.params}
    assert len(places) == (1 if share or seed is None else len(groups))


def test_views_share_random_numbers_where_they_name_each_other() -> None:
    strong = replace(STRONG, sampling=WEAK.sampling, frames_as="weak", augment_as="weak")
    weak, like, own = draw_views((WEAK, strong, replace(strong, name="own", frames_as="", augment_as="")), 60, (1, 2))
    assert np.array_equal(weak.ids, like.ids)
    assert not np.array_equal(weak.ids, own.ids)
    one, other, third = weak.params[0], like.params[0], own.params[0]
    assert (one.area, one.ratio, one.x, one.y) == (other.area, other.ratio, other.x, other.y)
    assert (one.area, one.x) != (third.area, third.x)
    assert not one.coloured
    jittered = [draw_views((WEAK, strong), 60, (seed,))[1].params[0].coloured for seed in range(20)]
    assert any(jittered)  # its own colours on the other's crop
    alone, _ = draw_views((WEAK, replace(STRONG, frames_as="weak")), 60, (1, 2))
    assert np.array_equal(alone.ids, weak.ids)


def test_a_bad_clip_is_masked_in_every_view(manifest: Manifest, tmp_path: Path) -> None:
    hurt = damage(manifest, tmp_path / "bad", [KEYS[2]])
    for sound, batch in zip(both(manifest, WEAK, STRONG), both(hurt, WEAK, STRONG), strict=True):
        for slot, key in enumerate(batch.keys):
            assert batch.valid[slot] == (key not in ("", KEYS[2]))
            for name, view in batch.views.items():
                expected = sound.views[name].frames[slot] if batch.valid[slot] else torch.zeros(())
                assert (view.frames[slot] == expected).all()


def test_a_list_of_views_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each with a name of its own"):
        ReaderConfig(views=(WEAK, WEAK))
    with pytest.raises(ValueError, match=r"one or more are needed"):
        ReaderConfig(views=())
    with pytest.raises(ValueError, match=r"views.strong.augment_as = weak: must be one of strong"):
        ReaderConfig(views=(replace(STRONG, augment_as="weak"),))
    with pytest.raises(ValueError, match=r"group = 3: sampling.groups has 3 groups"):
        replace(GROUPS, group=3)


def test_a_batch_of_several_views_has_no_only_one(h264: Manifest) -> None:
    batch = reader(h264, WEAK, STRONG).read(KEYS[:2])
    with pytest.raises(ValueError, match="views weak, strong"):
        _ = batch.frames
    moved = batch.to("meta")
    assert [view.frames.device.type for view in moved.views.values()] == ["meta"] * 2
    assert reader(h264, STRONG).read(KEYS[:2]).frame_ids.shape == (2, 1, 4)


@settings(deadline=None)
@given(
    n=st.integers(1, 90),
    views=st.integers(1, 10),
    crops=st.sampled_from([1, 3]),
    policy=st.sampled_from(["uniform", "views"]),
    size=st.tuples(st.integers(8, 12), st.integers(8, 12)),
)
def test_distinct_places_are_those_of_frames_and_windows_not_seen_before(
    n: int, views: int, crops: Any, policy: Any, size: tuple[int, int]
) -> None:
    view = ViewConfig(
        sampling=SamplingConfig(policy=policy, frames=6, views=views, stride=2 if policy == "views" else 1),
        augment=replace(STILL, crops=crops),
    )
    (drawn,) = draw_views([view], n, None)
    shown = [
        (drawn.ids[place // crops].tolist(), [side.tolist() for side in params.window(*size)])
        for place, params in enumerate(drawn.params)
    ]
    kept = distinct_places(drawn, *size)
    assert kept == sorted(kept) == [place for place, what in enumerate(shown) if what not in shown[:place]]
    if n <= 6 and size[0] == size[1]:
        assert kept == [0]
