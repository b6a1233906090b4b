"""Reading: the clip reader against bare decoding, and two readers against one."""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import torch

from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.decode import CLOSED_GOP_PROFILES, decode_frames
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ItemTable

FRAMES = 16
BATCH = 8
_EPOCHS = 2  # read by a process at a time: long enough for the wall clock


def make_reader(manifest: Manifest, keys: Sequence[str], size: int, *, train: bool) -> ClipReader:
    """Make a reader of sparse clips of FRAMES frames on one CPU thread, nothing ahead, decoded by PyAV."""
    augment = AugmentConfig(size=size) if train else AugmentConfig.evaluation(size=size)
    cfg = ReaderConfig(
        order=OrderConfig(batch_size=BATCH),
        views=(ViewConfig(sampling=SamplingConfig(frames=FRAMES), augment=augment),),
        decode="pyav",
        threads=1,
        prefetch=0,
    )
    return ClipReader(manifest, ItemTable.unlabelled(keys), cfg, seed=0)


def contenders(manifest: Manifest, keys: Sequence[str], sizes: Sequence[int]) -> dict[str, Callable[[], None]]:
    """Build `raw` (every clip decoded whole), `sparse` (the frames wanted, as RGB) and `reader SIZE` (everything).

    All have the same clips; `sparse` has the frames of the first epoch, which the readers read.
    """
    data = {key: manifest.read(key) for key in keys}
    readers = {size: make_reader(manifest, keys, size, train=True) for size in sizes}
    wanted = [
        (key, np.unique(ids.numpy()).tolist())
        for batch in readers[sizes[0]].epoch(0)
        for key, ids in zip(batch.keys, batch.frame_ids, strict=True)
        if key
    ]
    closed = manifest.profile in CLOSED_GOP_PROFILES

    def raw() -> None:
        for encoded in data.values():
            decode_whole(encoded)

    def sparse() -> None:
        for key, ids in wanted:
            decode_frames(key, data[key], ids, closed_gops=closed)

    def read(reader: ClipReader) -> Callable[[], None]:
        return lambda: exhaust(reader)

    return {"raw": raw, "sparse": sparse} | {f"reader {size}": read(reader) for size, reader in readers.items()}


def decode_whole(encoded: bytes) -> None:
    """Decode every frame on one thread and drop it: what the library can do at best."""
    with av.open(io.BytesIO(encoded)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass


def exhaust(reader: ClipReader) -> None:
    """Read the first epoch and drop it."""
    for _ in reader.epoch(0):
        pass


def two_against_one(folder: Path, keys: Sequence[str], size: int, rounds: int) -> list[float]:
    """Give clips a second of two reader processes over those of one in each round, by the wall clock.

    Needs two free cores.
    """
    context = multiprocessing.get_context("spawn")
    lines: list[Connection] = []
    workers = []
    for _ in range(2):
        ours, theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(theirs, folder, list(keys), size), daemon=True)
        worker.start()
        lines.append(ours)
        workers.append(worker)
    try:
        _together(lines)  # both have read an epoch: everything is loaded and warm
        values = []
        for _ in range(rounds):
            one = _together(lines[:1])
            values.append(2 * one / _together(lines))
        return values
    finally:
        for line in lines:
            line.close()  # ends the worker
        for worker in workers:
            worker.join()


def _together(lines: Sequence[Connection]) -> float:
    """Let these workers read at the same time; seconds until the last is done."""
    start = time.perf_counter()
    for line in lines:
        line.send(True)
    for line in lines:
        line.recv()
    return time.perf_counter() - start


def _serve(line: Connection, folder: Path, keys: list[str], size: int) -> None:
    torch.set_num_threads(1)
    reader = make_reader(Manifest.open(folder), keys, size, train=True)
    try:
        while line.recv():
            for _ in range(_EPOCHS):
                exhaust(reader)
            line.send(True)
    except EOFError:
        return
