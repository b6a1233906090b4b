"""Reading."""

from __future__ import annotations

import gc
import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shards.errors import UserError
from shards.read import reader as reader_module
from shards.read.config import AugmentConfig, SamplingConfig, ViewConfig
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import NO_LABEL, ItemTable
from tests.shards.numbered import shard, write
from tests.shards.read.read_clips import (
    EIGHT,
    KEYS,
    LENGTHS,
    REAL,
    STILL,
    config,
    damage,
    items,
    numbers,
    same,
)


def test_every_clip_comes_once_with_its_own_frames_and_label(manifest: Manifest) -> None:
    reader = ClipReader(manifest, items(), config(), seed=3)
    batches = list(reader.epoch(0))
    assert len(batches) == reader.batches_per_epoch == 4
    seen = []
    for batch in batches:
        assert batch.frames.shape == (4, 1, 8, 3, 64, 64)
        assert batch.frames.dtype == torch.float32
        for slot, key in enumerate(batch.keys):
            if not key:
                assert not batch.valid[slot]
                assert batch.labels[slot] == NO_LABEL
                assert not batch.frames[slot].any()
                continue
            place = KEYS.index(key)
            seen.append(key)
            assert numbers(batch.frames[slot, 0], 1) == [place] * 8
            assert numbers(batch.frames[slot, 0]) == batch.frame_ids[slot, 0].tolist()
            assert batch.labels[slot] == place % 5
            assert batch.pseudo[slot] == bool(place % 2)
            assert batch.n_frames[slot] == LENGTHS[key]
            assert batch.valid[slot]
    assert sorted(seen) == KEYS
    assert not reader.bad


def test_gitdl_gives_a_global_and_a_local_view_of_one_clip(manifest: Manifest) -> None:
    cfg = config(sampling=SamplingConfig(policy="gitdl", frames=8))
    for batch in ClipReader(manifest, items(), cfg, seed=0).epoch(1):
        for slot in torch.nonzero(batch.valid).flatten().tolist():
            for view in range(2):
                assert numbers(batch.frames[slot, view]) == batch.frame_ids[slot, view].tolist()
            common = set(batch.frame_ids[slot, 0].tolist()) & set(batch.frame_ids[slot, 1].tolist())
            assert len(common) >= (4 if batch.n_frames[slot] >= 15 else 3)


def test_groups_come_group_after_group(manifest: Manifest) -> None:
    cfg = config(sampling=SamplingConfig(policy="groups", frames=8, groups=(2, 2, 4), views=2))
    batch = next(iter(ClipReader(manifest, items(), cfg, seed=0).epoch(0)))
    for slot in torch.nonzero(batch.valid).flatten().tolist():
        for view in range(2):
            ids = batch.frame_ids[slot, view].tolist()
            assert numbers(batch.frames[slot, view]) == ids
            assert [sorted(part) for part in (ids[:2], ids[2:4], ids[4:])] == [ids[:2], ids[2:4], ids[4:]]
    assert batch.frame_ids.diff(dim=-1).min() < 0  # not one walk through the clip


def test_test_views_times_crops(h264: Manifest) -> None:
    augment = replace(STILL, crops=3)
    cfg = config(sampling=SamplingConfig(policy="views", frames=4, stride=2, views=3), augment=augment)
    batch = ClipReader(h264, items(), cfg, seed=0).read(KEYS[:3])
    assert batch.frames.shape == (3, 9, 4, 3, 64, 64)
    for slot in range(3):
        ids = batch.frame_ids[slot]
        assert torch.equal(ids[0::3], ids[1::3])
        for view in range(9):
            assert numbers(batch.frames[slot, view]) == ids[view].tolist()
    assert len(torch.unique(batch.frame_ids[2], dim=0)) == 3


@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_a_resumed_epoch_goes_on_exactly(manifest: Manifest, sampler: str) -> None:
    cfg = config(4, sampler, augment=AugmentConfig.carl_ssl(size=32))
    whole = list(ClipReader(manifest, items(), cfg, seed=5).epoch(2))
    for start in range(5):
        resumed = list(ClipReader(manifest, items(), cfg, seed=5).epoch(2, start=start))
        assert len(resumed) == 4 - start
        assert all(same(a, b) for a, b in zip(whole[start:], resumed, strict=True))
    other = next(iter(ClipReader(manifest, items(), cfg, seed=5).epoch(3)))
    assert not same(whole[0], other)


@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_the_ranks_together_read_the_global_batch(h264: Manifest, sampler: str) -> None:
    cfg = config(8, sampler, augment=AugmentConfig(size=32))
    whole = list(ClipReader(h264, items(), cfg, seed=1).epoch(0))
    assert len(h264.shards) == 4
    for world in (2, 4, 8):  # more ranks than tars, too: clips are found by key
        ranks = [list(ClipReader(h264, items(), cfg, seed=1, rank=r, world=world).epoch(0)) for r in range(world)]
        assert {len(batches) for batches in ranks} == {len(whole)}
        for index, batch in enumerate(whole):
            parts = [ranks[r][index] for r in range(world)]
            assert sum((p.keys for p in parts), ()) == batch.keys
            assert torch.equal(torch.cat([p.frames for p in parts]), batch.frames)
            assert torch.equal(torch.cat([p.labels for p in parts]), batch.labels)


def test_threads_and_prefetching_change_nothing(h264: Manifest) -> None:
    cfg = config(augment=AugmentConfig.carl_ssl(size=32))
    first = list(ClipReader(h264, items(), cfg, seed=1).epoch(0))
    for threads, prefetch in ((1, 0), (3, 1), (2, 9)):
        again = ClipReader(h264, items(), replace(cfg, threads=threads, prefetch=prefetch), seed=1).epoch(0)
        assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_several_batches_in_the_making_change_nothing(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(augment=AugmentConfig.carl_ssl(size=32), threads="auto", prefetch=3)
    first = list(ClipReader(manifest, items(), cfg, seed=1).epoch(0))
    monkeypatch.setattr(reader_module, "PRODUCERS", {"cpu": 3})
    reader = ClipReader(manifest, items(), cfg, seed=1)
    for epoch in (0, 1, 0):
        again = list(reader.epoch(epoch))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert 1 <= sum(len(graphs) for graphs in reader._loader._idle.values()) <= 3


def test_a_clip_drawn_twice_is_augmented_twice(h264: Manifest) -> None:
    one = ItemTable(keys=[KEYS[2]], labels=np.zeros(1, np.int32), pseudo=np.zeros(1, np.bool_))
    cfg = config(2, "balanced", augment=AugmentConfig.carl_ssl(size=32))
    batch = next(iter(ClipReader(h264, one, cfg, seed=1).epoch(0)))
    assert batch.keys == (KEYS[2], KEYS[2])
    assert not torch.equal(batch.frames[0], batch.frames[1])


def test_a_view_says_where_it_comes_from(h264: Manifest) -> None:
    """Oracle: sampling a view of the whole frame between the edges gives the view, mirrored ones too."""
    wild = AugmentConfig(size=32, scale=(0.2, 0.6), ratio=(0.6, 1.6), flip=0.5, mean=(0, 0, 0), std=(1, 1, 1))
    views = (ViewConfig(name="whole", sampling=EIGHT, augment=replace(STILL, size=96)),)
    views += (ViewConfig(name="part", sampling=EIGHT, augment=wild, frames_as="whole"),)
    mirrored = 0
    for batch in ClipReader(h264, items(KEYS[:8]), config(views=views), seed=1).epoch(0):
        whole, part = batch.views["whole"], batch.views["part"]
        assert whole.origin is not None and part.origin is not None
        assert torch.equal(part.origin.frame_ids, part.frame_ids)
        for row in range(len(batch.keys)):
            assert whole.origin.edges[row, 0].tolist() == [0, 0, 1, 1]
            left, top, right, bottom = part.origin.edges[row, 0].tolist()
            mirrored += left > right
            theta = torch.tensor([[right - left, 0, left + right - 1], [0, bottom - top, top + bottom - 1]])
            grid = torch.nn.functional.affine_grid(theta[None].float(), [1, 3, 32, 32], align_corners=False)
            wanted = torch.nn.functional.grid_sample(whole.frames[row, 0, :1], grid, align_corners=False)
            apart = (part.frames[row, 0, :1] - wanted).abs().mean()
            assert apart < 0.05 < (part.frames[row, 0, :1].flip(-1) - wanted).abs().mean()
    assert mirrored


def test_read_is_fixed_keeps_the_order_and_takes_more_keys_than_a_batch(manifest: Manifest) -> None:
    wanted = [*KEYS[9::-1], KEYS[3]]
    readers = [
        ClipReader(manifest, items(KEYS[:5]), config(augment=AugmentConfig.carl_ssl(size=32)), seed=s) for s in (1, 2)
    ]
    first, second = (reader.read(wanted) for reader in readers)
    assert same(first, second)
    assert first.keys == tuple(wanted)
    assert first.valid.all()
    assert first.labels.tolist() == [KEYS.index(k) % 5 if k in KEYS[:5] else NO_LABEL for k in wanted]
    assert first.frame_ids[0, 0].tolist() == sorted(first.frame_ids[0, 0].tolist())
    assert torch.equal(first.frames[-1], first.frames[6])


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_of_wanted_clips_are_pieces_of_one_read(h264: Manifest, prefetch: int) -> None:
    reader = ClipReader(h264, items(KEYS[:5]), config(prefetch=prefetch), seed=1)
    whole, pieces = reader.read(KEYS[:7]), list(reader.batches(KEYS[:7], 3))
    assert [len(piece.keys) for piece in pieces] == [3, 3, 1]
    assert torch.equal(torch.cat([piece.frames for piece in pieces]), whole.frames)
    assert sum((piece.keys for piece in pieces), ()) == whole.keys
    with pytest.raises(UserError, match="strange"):
        next(reader.batches(["strange"], 3))


def test_a_reader_turns_to_other_shards_of_its_kind_alone(h264: Manifest, vp9: Manifest, tmp_path: Path) -> None:
    """What it then reads is what a new reader reads, though other clips have the same keys there."""
    other = write(tmp_path, dict.fromkeys(KEYS[:3], 43), "h264")
    reader = ClipReader(h264, items(), config(), seed=0)
    before = reader.read(KEYS[:3])
    assert reader.turn_to(other)
    assert same(reader.read(KEYS[:3]), ClipReader(other, items(KEYS[:3]), config(), seed=0).read(KEYS[:3]))
    assert not same(reader.read(KEYS[:3]), before)
    assert not reader.turn_to(vp9)
    assert reader.manifest is other


def test_labels_of_unlabelled_clips_are_not_carried(h264: Manifest) -> None:
    for batch in ClipReader(h264, ItemTable.unlabelled(KEYS), config(), seed=1).epoch(0):
        assert (batch.labels == NO_LABEL).all()


def test_both_decoders_agree_on_vp9(vp9: Manifest) -> None:
    by_dali = ClipReader(vp9, items(), config(decode="dali-cpu"), seed=1)
    by_pyav = ClipReader(vp9, items(), config(decode="pyav"), seed=1)
    difference = (by_dali.read(KEYS).frames - by_pyav.read(KEYS).frames).abs() * 255
    assert difference.mean() < 1  # both round YUV to RGB their own way
    assert (difference > 3).float().mean() < 0.02  # and smooth colour differently, at the edges of the red mark


def test_refusals_before_the_first_clip(h264: Manifest) -> None:
    with pytest.raises(UserError, match=r"4 of 5 clips are not in the shards .*: a, b, c; "):
        ClipReader(h264, items(["a", "b", "c", KEYS[0], "d"]), config(), seed=1)
    with pytest.raises(UserError, match="dali-cpu cannot decode h264"):
        ClipReader(h264, items(), config(decode="dali-cpu"), seed=1)
    with pytest.raises(UserError, match="1 of 2 clips are not in the shards"):
        ClipReader(h264, items(), config(), seed=1).read([KEYS[0], "nobody"])
    with pytest.raises(ValueError, match=r"threads = 0: must be at least 1"):
        config(threads=0)


def test_leaving_an_epoch_early_ends_its_threads_and_keeps_no_file(h264: Manifest) -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    reader = ClipReader(h264, items(), config(2, prefetch=3), seed=1)
    list(reader.epoch(0))
    gc.collect()  # readers of other tests hold files of their own
    threads, open_files = threading.active_count(), files()
    for _ in range(5):
        walk = reader.epoch(1)
        next(walk)
        walk.close()
        assert threading.active_count() == threads
        for _ in reader.epoch(0):
            break
    assert threading.active_count() == threads
    assert files() == open_files


def test_the_config_and_a_manifest_travel_to_another_process(h264: Manifest) -> None:
    cfg = config(augment=AugmentConfig(size=32))
    there = pickle.loads(pickle.dumps((h264, items(), cfg)))
    here = next(iter(ClipReader(h264, items(), cfg, seed=1).epoch(0)))
    assert same(here, next(iter(ClipReader(*there, seed=1).epoch(0))))


def test_the_choice_of_decoder_can_be_printed(h264: Manifest, vp9: Manifest) -> None:
    assert str(ClipReader(h264, items(), config(), seed=1).decoder).startswith("pyav (h264")
    assert str(ClipReader(vp9, items(), config(), seed=1).decoder).startswith("dali-cpu (vp9")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips (../shared/data/clips) are not here")
def test_files_as_they_come_are_read_from_copied_shards(tmp_path: Path) -> None:
    names = ["SOX5yA1l24A.mp4", "v_SoccerJuggling_g23_c01.avi", "TrumanShow_wave_f_nm_np1_fr_med_26.avi"]
    paths = {f"real{i}": REAL / "actions" / name for i, name in enumerate(names)}
    copied = shard(tmp_path / "shards", paths, "copy")
    batch = ClipReader(copied, items(list(paths)), config(), seed=1).read(list(paths))
    assert batch.valid.all()
    assert (batch.frames.flatten(2).std(-1) > 0.02).all()


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "decode"), [("h264", "pyav"), ("vp9", "pyav"), ("vp9", "dali-cpu")])
def test_memory_does_not_grow_over_thousands_of_clips(
    request: pytest.FixtureRequest, tmp_path: Path, stored: str, decode: str
) -> None:
    """With a clip among them that does not decode: on DALI the graph is built again each time."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    broken = damage(request.getfixturevalue(stored), tmp_path / "bad", ["clip04"])
    reader = ClipReader(broken, items(), config(augment=AugmentConfig.carl_ssl(size=32), decode=decode), seed=1)
    for epoch in range(20):
        list(reader.epoch(epoch))
    before = resident()
    for epoch in range(150):
        list(reader.epoch(epoch))
    assert resident() - before < 30 * 2**20  # 15 KiB a clip
    assert sum(reader.bad.values()) == 1
