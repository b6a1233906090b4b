"""How alike the parts of every labelled and unlabelled video look to a trained f_E, one part file per chunk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from finepseudo.compute.networks import placed, prepare_torch
from finepseudo.consistency.parts import PARTS, parts_of
from finepseudo.consistency.similarity import self_similarity
from jobs.cluster import preempt
from jobs.config.run import RunConfig
from jobs.progress import Count
from jobs.workers.embed import evaluation_reader
from jobs.workers.map_parts import Pool, Work, device_of, map_parts
from jobs.workers.models import trained_action_encoder
from jobs.workers.part_files import chunks, write_part
from shards.read.groups import long_view

SCHEMA = pa.schema([("key", pa.string()), ("similarity", pa.float32())])


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarityJob:
    """What every actor is told; `method`: whose network f_E is, None for f_E itself."""

    cfg: RunConfig
    run: Path
    folder: Path
    shards: Path
    n_classes: int
    action_weights: Path
    method: str | None


class Comparer:
    """One actor: f_E and the reader of what it sees, loaded once."""

    def __init__(self, job: SimilarityJob, pool: Pool) -> None:
        """Load f_E."""
        prepare_torch(job.cfg.resources.threads, job.cfg.deterministic)
        self.job, self.device = job, device_of(pool)
        encoder = trained_action_encoder(job.cfg, job.action_weights, job.n_classes, job.method)
        self.encoder = placed(encoder, self.device)
        view = long_view(job.cfg.action_input.view(), PARTS)
        self.reader = evaluation_reader(job.cfg, job.shards, [view], self.device, pool.sharers)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Compare the parts of the clips of one row and write its part file; clips that fail are left out."""
        answer = {"part": row["part"], "clips": 0, "seconds": 0.0, "stopped": False}
        if preempt.requested(self.job.run):
            return {**answer, "stopped": True}
        started, keys = time.perf_counter(), [str(key) for key in row["keys"]]
        table = self._table(keys)
        write_part(self.job.folder / row["part"], table)
        return {**answer, "clips": len(keys), "seconds": time.perf_counter() - started}

    @torch.inference_mode()
    def _table(self, keys: list[str]) -> pa.Table:
        names: list[str] = []
        found: list[float] = []
        for batch in self.reader.batches(keys, self.job.cfg.embed.batch):
            sound = batch.sound()
            frames = parts_of(sound.frames[:, 0].to(self.device))
            features = self.encoder.features(frames.flatten(0, 1))
            names += sound.keys
            found += self_similarity(features.view(-1, PARTS, features.shape[1])).tolist()
        columns = [pa.array(values, field.type) for values, field in zip([names, found], SCHEMA, strict=True)]
        return pa.table(columns, schema=SCHEMA)


def compare(job: SimilarityJob, keys: Sequence[str], pool: Pool, count: Count) -> list[dict[str, Any]]:
    """Compare the parts of every clip of `keys` into `job.folder`; return one row of numbers per part file made."""
    timeout_s = 60 * job.cfg.resources.data_timeout_min
    work = Work(worker=Comparer, told=job, run=job.run, folder=job.folder, pool=pool, timeout_s=timeout_s)
    return map_parts(work, chunks(keys, job.cfg.embed.chunk), count)
