"""Part `reading`: clips a second from H.264 shards by decoder and threads, and how long a real training waits.

`finepseudo bench data --gpu` prints the same rows. A row takes some 8 s at most, however slow its decoder.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice, product
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
from shards.read.config import BOTH, AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, Threads, ViewConfig
from shards.read.streams import StreamInput, StreamReader
from shards.storage.manifest import Manifest
from shards.types import ClipBatch, ItemTable
from shards.write.config import ShardConfig

INPUTS = {"f_E": (16, 112), "f_A": (32, 224)}
"""Frames of a clip and side of a frame, pixels."""

BATCH = 32
WARM_S, MEASURED_S = 3.0, 5.0
"""Seconds of a row before it counts and while it does, at most; both end with the batch that is being read then."""
ENOUGH = 12
"""Batches after which a row is measured well enough."""


def measure(tiny: bool, shards: Path | None = None) -> Iterator[Row]:
    """Read shards by every decoder, first as a run does by itself, and train on them.

    Shards of drawn clips are written where none are given; tiny: a rehearsal, which means nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest.open(shards) if shards else _shards(Path(folder), tiny)
        counts = (1,) if tiny else tuple(sorted({8, max(8, (os.cpu_count() or 8) - 2)}))
        for decode in (BOTH, "pyav", "dali-gpu"):
            alone = decode == "dali-gpu"  # its threads wait for the engine: one row of each input says it all
            for name, threads in [*product(INPUTS, counts[-1:]), *product(["f_E"], () if alone else counts[:-1])]:
                frames, side = INPUTS[name]
                cfg = _config(decode, 4 if tiny else frames, 32 if tiny else side, 2 if tiny else BATCH, threads)
                yield f"{decode}, {threads} threads, {name}", read_numbers(manifest, cfg)
            if not alone:
                yield f"training by {decode}", train_numbers(Path(folder), manifest, decode, tiny)
        if not shards:  # four columns more, and DALI makes another decoder for each clip
            cropped = _shards(Path(folder) / "cropped", tiny, cropped=True)
            yield f"{decode}, {threads} threads, {name}, clips of 340 x 256", read_numbers(cropped, cfg)


def _shards(folder: Path, tiny: bool, *, cropped: bool = False) -> Manifest:
    """Draw clips of some 90 frames and write shards of them in several processes, of 336 x 256 pixels.

    cropped: of 340 x 256, as videos come: stored in whole macroblocks and cropped when shown. tiny: few, and of a codec
    that DALI reads on a CPU, so that both decoders are rehearsed.
    """
    count, lengths = (4, (20, 24)) if tiny else (2 * BATCH, (80, 100))
    workers = 1 if tiny else os.cpu_count() or 1
    if cropped:
        return make_clips(folder, count, lengths, workers, size=(256, 340), cfg=ShardConfig(profile="copy")).manifest
    cfg = ShardConfig(clips_per_shard=4, profile="vp9" if tiny else "h264")
    return make_clips(folder, count, lengths, workers, cfg=cfg).manifest


def _items(manifest: Manifest) -> ItemTable:
    keys = list(manifest.keys)
    return ItemTable(keys=keys, labels=np.arange(len(keys), dtype=np.int32) % 4, pseudo=np.zeros(len(keys), np.bool_))


def _stream(manifest: Manifest, cfg: ReaderConfig) -> StreamInput:
    return StreamInput(items=_items(manifest), reader=cfg)


def _config(decode: str, frames: int, side: int, batch: int, threads: Threads) -> ReaderConfig:
    return ReaderConfig(
        order=OrderConfig(batch_size=batch),
        views=(ViewConfig(sampling=SamplingConfig(policy="uniform", frames=frames), augment=AugmentConfig(size=side)),),
        decode=decode,  # type: ignore[arg-type]
        threads=threads,
        prefetch=2,
    )


def read_numbers(manifest: Manifest, cfg: ReaderConfig) -> Numbers | str:
    """Return clips a second, one pass after another as a training reads, or why this decoder cannot read here."""
    try:
        reader = StreamReader(manifest, {LABELLED: _stream(manifest, cfg)}, seed=1, device=device())
    except UserError as error:
        return str(error)
    with closing(reader.batches()) as batches:
        _read(batches, WARM_S)
        before = reader.decoded
        clips, seconds = _read(batches, MEASURED_S)
        by = reader.decoded - before
    return {"clips/s": clips / seconds, "by": dict(by), "fallbacks": reader.fallbacks, "bad": dict(reader.bad)}


def _read(batches: Iterator[dict[str, ClipBatch]], most_s: float) -> tuple[int, float]:
    """Read until the time or the batches are up; count the clips, and the seconds they took."""
    start, clips = time.perf_counter(), 0
    for batch in islice(batches, ENOUGH):
        clips += int(batch[LABELLED].valid.sum())
        if time.perf_counter() - start > most_s:
            break
    if device().type == "cuda":
        torch.cuda.synchronize()
    return clips, time.perf_counter() - start


def _objective(tiny: bool) -> Objective:
    return objectives(tiny, "bf16")["cross-entropy"]()


def train_numbers(folder: Path, manifest: Manifest, decode: str, tiny: bool) -> Numbers | str:
    """Train f_E from the shards as a run does; return the last line of its log."""
    steps = 2 if tiny else 20
    where = folder / f"training-{decode}"
    where.mkdir()
    train = TrainConfig(steps=steps, log_every=max(1, steps // 2))
    loop = LoopJob(run=folder, folder=where, stage="bench", train=train, seed=1, tags={})
    cfg = _config(decode, 4 if tiny else 16, 32 if tiny else 112, 2 if tiny else 32, 1 if tiny else "auto")
    job = TrainJob(
        loop=loop,
        shards=Path(manifest.folder),
        streams={LABELLED: _stream(manifest, cfg)},
        objective=functools.partial(_objective, tiny),
        threads=4,
        deterministic=False,
        precision="bf16",
    )
    outcome = train_rank(job, 0, 1, device())
    if outcome != "done":
        return (where / FAILURE).read_text(encoding="utf-8").strip()
    told: dict[str, Any] = json.loads((where / LOG).read_text(encoding="utf-8").splitlines()[-1])
    kinds = ("wait_fraction", "clips_per_s", "bad_clips", "fallback_clips", "dali_clips", "pyav_clips")
    return {f"data/{kind}": told[f"data/{kind}"] for kind in kinds}
