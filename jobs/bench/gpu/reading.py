"""Part `reading`: clips a second from H.264 shards by decoder and threads, and how long a real training waits."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finepseudo.methods.base import LABELLED
from finepseudo.run_folder.layout import FAILURE, LOG
from finepseudo.training.objectives import Objective
from jobs.bench.gpu.batches import objectives
from jobs.bench.gpu.timing import Numbers, Row, device
from jobs.config.training import TrainConfig
from jobs.workers.train import TrainJob, train_rank
from jobs.workers.train_loop import LoopJob
from shards.bench.clips import make_clips
from shards.errors import UserError
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.reader import ClipReader
from shards.read.streams import StreamInput
from shards.storage.manifest import Manifest
from shards.types import ItemTable

INPUTS = {"f_E": (16, 112), "f_A": (32, 224)}
"""Frames of a clip and side of a frame, pixels."""


def measure(tiny: bool) -> Iterator[Row]:
    """Draw clips, write shards of them, read them by every decoder and train on them."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = _shards(Path(folder), tiny)
        counts = (1,) if tiny else tuple(sorted({8, max(8, (os.cpu_count() or 8) - 2)}))
        for decode in ("dali-gpu", "pyav"):
            for name, (frames, side) in INPUTS.items():
                for threads in counts:
                    cfg = _config(decode, 4 if tiny else frames, 32 if tiny else side, 2 if tiny else 32, threads)
                    yield f"{decode}, {threads} threads, {name}", read_numbers(manifest, cfg)
            yield f"training by {decode}", train_numbers(Path(folder), manifest, decode, tiny)


def _shards(folder: Path, tiny: bool) -> Manifest:
    """Draw clips of 340 x 256 pixels and some 90 frames and write shards of them, in several processes."""
    if tiny:
        return make_clips(folder, 4, (20, 24)).manifest
    return make_clips(folder, 96, workers=os.cpu_count() or 1).manifest


def _items(manifest: Manifest) -> ItemTable:
    keys = list(manifest.keys)
    return ItemTable(keys=keys, labels=np.arange(len(keys), dtype=np.int32) % 4, pseudo=np.zeros(len(keys), np.bool_))


def _config(decode: str, frames: int, side: int, batch: int, threads: int) -> ReaderConfig:
    return ReaderConfig(
        order=OrderConfig(batch_size=batch),
        views=(ViewConfig(sampling=SamplingConfig(policy="uniform", frames=frames), augment=AugmentConfig(size=side)),),
        decode=decode,  # type: ignore[arg-type]
        threads=threads,
        prefetch=4,
    )


def read_numbers(manifest: Manifest, cfg: ReaderConfig) -> Numbers | str:
    """Return clips a second over some epochs after one that warms up, or why this decoder cannot read here."""
    try:
        reader = ClipReader(manifest, _items(manifest), cfg, seed=1, device=device())
    except UserError as error:
        return str(error)
    clips = sum(int(batch.valid.sum()) for batch in reader.epoch(0))
    start, seen, epoch = time.perf_counter(), 0, 1
    while seen < 2 * clips or time.perf_counter() - start < 1:
        seen += sum(int(batch.valid.sum()) for batch in reader.epoch(epoch))
        epoch += 1
    if device().type == "cuda":
        torch.cuda.synchronize()
    return {"clips/s": seen / (time.perf_counter() - start), "bad": dict(reader.bad)}


def _objective(tiny: bool) -> Objective:
    return objectives(tiny, "bf16")["cross-entropy"]()


def train_numbers(folder: Path, manifest: Manifest, decode: str, tiny: bool) -> Numbers | str:
    """Train f_E from the shards as a run does; return the last line of its log."""
    steps = 2 if tiny else 30
    where = folder / f"training-{decode}"
    where.mkdir()
    train = TrainConfig(steps=steps, log_every=max(1, steps // 2))
    loop = LoopJob(run=folder, folder=where, stage="bench", train=train, seed=1, tags={})
    cfg = _config(decode, 4 if tiny else 16, 32 if tiny else 112, 2 if tiny else 32, 1 if tiny else 8)
    job = TrainJob(
        loop=loop,
        shards=Path(manifest.folder),
        streams={LABELLED: StreamInput(items=_items(manifest), reader=cfg)},
        objective=functools.partial(_objective, tiny),
        threads=4,
        deterministic=False,
        precision="bf16",
    )
    outcome = train_rank(job, 0, 1, device())
    if outcome != "done":
        return (where / FAILURE).read_text(encoding="utf-8").strip()
    told: dict[str, Any] = json.loads((where / LOG).read_text(encoding="utf-8").splitlines()[-1])
    return {
        name: told[name] for name in ("data/wait_fraction", "data/clips_per_s", "data/bad_clips", "data/pyav_clips")
    }
