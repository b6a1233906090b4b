"""Numbered clips in shards, whole and damaged, and readers of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.storage.manifest import Manifest
from shards.types import ClipBatch, ItemTable
from tests.shards.hurt import change_rows
from tests.shards.numbered import number

LENGTHS = {f"clip{i:02d}": (18, 25, 36, 5, 40, 31, 29)[i % 7] for i in range(14)}


KEYS = list(LENGTHS)


EIGHT = SamplingConfig(frames=8)


STILL = AugmentConfig(size=64, scale=(1, 1), ratio=(1, 1), flip=0, mean=(0, 0, 0), std=(1, 1, 1))


REAL = Path(__file__).parents[4] / "shared" / "data" / "clips"


def items(keys: Sequence[str] = KEYS) -> ItemTable:
    n = len(keys)
    return ItemTable(keys=keys, labels=np.arange(n, dtype=np.int32) % 5, pseudo=np.arange(n) % 2 == 1)


def config(
    batch: int = 4,
    sampler: str = "shuffle",
    sampling: SamplingConfig = EIGHT,
    augment: AugmentConfig = STILL,
    **changes: Any,
) -> ReaderConfig:
    order = OrderConfig(batch_size=batch, sampler=sampler)  # type: ignore[arg-type]
    views = (ViewConfig(sampling=sampling, augment=augment),)
    return ReaderConfig(**{"order": order, "views": views, **changes})


def numbers(frames: torch.Tensor, row: int = 0) -> list[int]:
    """Read the numbers drawn into frames [T, C, H, W]."""
    return [number(image, row) for image in frames.permute(0, 2, 3, 1).numpy()]


def same(a: ClipBatch, b: ClipBatch) -> bool:
    tensors = ("frames", "frame_ids", "n_frames", "labels", "pseudo", "valid")
    return a.keys == b.keys and all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors)


def damage(
    manifest: Manifest, folder: Path, keys: Sequence[str], *, half: bool = False, signed: bool = True
) -> Manifest:
    """Copy the shards and overwrite clips with nonsense, wholly or from the middle on; sizes stay as they are.

    signed: their hashes are made to fit, so that only the decoder can tell.
    """
    shutil.copytree(manifest.folder, folder)
    hashes = {}
    for key in keys:
        row = manifest.row(key)
        skip = row.size // 2 if half else 0
        with (folder / manifest.shards[row.shard]).open("r+b") as file:
            file.seek(row.offset + skip)
            file.write(b"\x07" * (row.size - skip))
            file.seek(row.offset)
            hashes[key] = hashlib.sha256(file.read(row.size)).hexdigest()
    if signed:
        change_rows(folder, lambda row: row | {"sha256": hashes.get(row["key"], row["sha256"])})
    return Manifest.open(folder)
