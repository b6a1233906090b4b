"""Clips and shards that break while they are read: masked, counted, and refused when there are too many."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from shards.errors import UserError
from shards.read.config import AugmentConfig
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from tests.shards.read.read_clips import KEYS, config, damage, items


@pytest.mark.parametrize(("half", "signed"), [(False, True), (True, True), (True, False)])
def test_a_bad_clip_is_masked_and_the_others_are_untouched(
    manifest: Manifest, tmp_path: Path, half: bool, signed: bool
) -> None:
    cfg = config(8, augment=AugmentConfig(size=32))
    bad = {"clip04", "clip09"}
    sound = [b for e in range(2) for b in ClipReader(manifest, items(), cfg, seed=1).epoch(e)]
    hurt_shards = damage(manifest, tmp_path / "bad", sorted(bad), half=half, signed=signed)
    reader = ClipReader(hurt_shards, items(), cfg, seed=1)
    hurt = [b for e in range(2) for b in reader.epoch(e)]
    for a, b in zip(sound, hurt, strict=True):
        assert a.keys == b.keys
        assert torch.equal(a.labels, b.labels)
        for slot, key in enumerate(a.keys):
            if key in bad:
                assert not b.valid[slot]
                assert not b.frames[slot].any()
            else:
                assert a.valid[slot] == b.valid[slot]
                assert torch.equal(a.frames[slot], b.frames[slot])
    assert sum(reader.bad.values()) == 2
    noticed_by_decoders = {"not_a_video", "decode_error", "truncated", "too_few_frames"}
    assert set(reader.bad) <= (noticed_by_decoders if signed else {"hash_mismatch"})


def test_a_batch_of_nothing_but_a_bad_clip_is_all_masked(manifest: Manifest, tmp_path: Path) -> None:
    reader = ClipReader(damage(manifest, tmp_path / "bad", ["clip04"]), items(), config(1), seed=1)
    batch = reader.read(["clip04"])
    assert batch.valid.tolist() == [False]
    assert reader.read(["clip05"]).valid.tolist() == [True]


def test_too_many_bad_clips_stop_the_run_with_the_list(manifest: Manifest, tmp_path: Path) -> None:
    bad = KEYS[2:5]
    reader = ClipReader(damage(manifest, tmp_path / "bad", bad), items(), config(), seed=1)
    with pytest.raises(UserError, match=r"3 of 14 clips cannot be read, more than max_bad_fraction = 0.02") as caught:
        list(reader.epoch(0))
    assert all(key in str(caught.value) for key in bad)
    patient = ClipReader(Manifest.open(tmp_path / "bad"), items(), config(max_bad_fraction=0.3), seed=1)
    assert sum(int(b.valid.sum()) for b in patient.epoch(0)) == 11


def test_a_shard_that_vanishes_is_a_reason_not_a_crash(h264: Manifest, tmp_path: Path) -> None:
    shutil.copytree(h264.folder, tmp_path / "copy")
    reader = ClipReader(Manifest.open(tmp_path / "copy"), items(), config(max_bad_fraction=1.0), seed=1)
    (tmp_path / "copy" / h264.shards[1]).unlink()
    valid = sum(int(b.valid.sum()) for b in reader.epoch(0))
    assert valid == 10
    assert dict(reader.bad) == {"shard_unreadable": 4}
