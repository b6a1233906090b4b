"""A manifest of the size of Kinetics-400: how soon a resumed reader has its first batch, what it keeps in memory."""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from shards.bench.reading import make_reader
from shards.files import sha256_file
from shards.read.dali_graph import import_dali
from shards.read.order import global_batch
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ItemTable
from shards.write.config import ShardConfig
from shards.write.writer import ShardResult, finish

ROWS = 240_000
RESUME_AT = 1_000_000
"""Clip of a long epoch at which reading goes on."""
BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """Seconds from opening the manifest to the first batch, and MB that manifest, items and order keep resident."""

    seconds: float
    megabytes: float


def write_large(small: Manifest, folder: Path, rows: int = ROWS) -> None:
    """Write a manifest of `rows` clips whose bytes are those of the clips of a small one, over and over."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [small.row(key) for key in small.keys]
    results = []
    for index, name in enumerate(small.shards):
        mine = [row for row in places if row.shard == index]
        first, last = (rows * part // len(small.shards) for part in (index, index + 1))
        (folder / name).hardlink_to(Path(small.folder) / name)
        results.append(
            ShardResult(
                index=index,
                plan_sha256="",
                tar=name,
                bytes=(folder / name).stat().st_size,
                sha256=sha256_file(folder / name),
                rows=[_row(mine[number % len(mine)], number) for number in range(first, last)],
                quarantine=[],
            )
        )
    finish(folder, results, ShardConfig())


def resume(folder: Path, small: Path, clip: int = RESUME_AT) -> Resumed:
    """Open the manifest in a process of its own, as each rank does, and read the batch that holds clip `clip`.

    A small one is opened first: what the libraries themselves take, once, is no part of the figures.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_resume, args=(theirs, folder, small, clip), daemon=True)
    child.start()
    theirs.close()
    try:
        result: Resumed = ours.recv()
        return result
    finally:
        child.join()


def _row(row: object, number: int) -> dict[str, object]:
    """Name a clip as Kinetics-400 does: eleven characters of a video, start and end."""
    video = hashlib.sha256(str(number).encode()).hexdigest()
    names = ("offset", "size", "n_frames", "fps", "codec", "width", "height", "sha256")
    return {"key": f"{number:06d}{video[:5]}_000010_000020", **{name: getattr(row, name) for name in names}}


def _resume(line: Connection, folder: Path, small: Path, clip: int) -> None:
    torch.set_num_threads(1)
    import_dali()
    Manifest.open(small)
    gc.collect()
    before, start = _resident(), time.perf_counter()
    manifest = Manifest.open(folder)
    items = ItemTable.unlabelled(manifest.keys)
    reader = _reader(manifest, items, clip)
    opened = time.perf_counter() - start
    # the order's part of the first batch, before decoding takes memory that has nothing to do with the manifest
    global_batch(items, reader.cfg.order, reader.seed, 0, clip // BATCH)
    megabytes = (_resident() - before) / 1e6
    start = time.perf_counter()
    next(reader.epoch(0, clip // BATCH))
    line.send(Resumed(seconds=opened + time.perf_counter() - start, megabytes=megabytes))


def _reader(manifest: Manifest, items: ItemTable, clip: int) -> ClipReader:
    cfg = make_reader(manifest, items.keys[:1], 112, train=True).cfg
    order = replace(cfg.order, batch_size=BATCH, batches_per_epoch=2 * (clip // BATCH) + 1)
    return ClipReader(manifest, items, replace(cfg, order=order, threads=2), seed=0)


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
