"""Class-wise alignability of the unlabelled pool (eq. 7): each actor holds the packed gallery, each row is one part."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from finepseudo.alignment.distances import class_scores
from finepseudo.alignment.gallery import build_gallery
from finepseudo.alignment.scorer import AlignabilityScorer, length_factor
from finepseudo.compute.networks import prepare_torch
from finepseudo.soft_dtw import AlignmentBank
from finepseudo.training.checkpoint import load_weights
from jobs.cluster import preempt
from jobs.config.run import RunConfig
from jobs.progress import Count
from jobs.workers.clip_parts import make_parts
from jobs.workers.map_parts import Pool, device_of
from jobs.workers.models import trained_scorer
from jobs.workers.part_files import GALLERY, parts, read_embeddings, write_part
from shards.splits.label_split import read_split

SCHEMA = pa.schema([("key", pa.string()), ("scores", pa.list_(pa.float32()))])


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreJob:
    """What every actor is told."""

    cfg: RunConfig
    run: Path
    folder: Path
    embeddings: Path
    frame_weights: Path
    split: Path
    n_classes: int


def pack_gallery(
    cfg: RunConfig, embeddings: Path, labels: dict[str, int], n_classes: int, *, seed: int, number: int
) -> dict[str, Tensor]:
    """Choose the gallery of a round from the labelled clips' embeddings; labels: key -> true label.

    Returns `embeddings` [G, T, F] and `labels` [G], to be written once and read by every actor.
    """
    keys, values = read_embeddings(parts(embeddings), labels.keys())
    truth = [labels[key] for key in keys]
    bank = build_gallery(values, truth, n_classes, cfg.embed.gallery_per_class, seed=seed, round=number)
    if bank.labels is None:
        raise ValueError("the gallery has no labels")
    return {"embeddings": bank.unit, "labels": bank.labels}


def read_gallery(path: Path, n_classes: int, dtype: str, device: torch.device) -> AlignmentBank:
    """Read a packed gallery back, in a dtype of torch, onto the device that aligns with it."""
    tensors = load_weights(path)
    embeddings = tensors["embeddings"].to(device)
    return AlignmentBank(embeddings, labels=tensors["labels"], n_classes=n_classes, dtype=getattr(torch, dtype))


class Scorer:
    """f_S on raw distances, as the gallery scores want it."""

    def __init__(self, scorer: AlignabilityScorer, length: int) -> None:
        """Divide distances of clips of `length` frames as f_S was trained to see them."""
        self.scorer, self.factor = scorer, length_factor(length, scorer.cfg.norm)

    def __call__(self, distances: Tensor) -> Tensor:
        """Map distances [...] to S [...]."""
        return self.scorer(distances / self.factor)  # type: ignore[no-any-return]

    def falls(self) -> bool:
        """Tell whether S falls over the distances seen in training (mean +- 2 standard deviations)."""
        spread = 2 * self.scorer.variance.sqrt()
        grid = torch.linspace(-1, 1, 65) * spread.cpu() + self.scorer.mean.cpu()
        return bool((self.scorer.cpu().logits(grid).diff() <= 1e-6).all())


class Aligner:
    """One actor: the gallery on its device and f_S, loaded once."""

    def __init__(self, job: ScoreJob, pool: Pool) -> None:
        """Load f_S and take the gallery."""
        prepare_torch(job.cfg.resources.threads, job.cfg.deterministic)
        self.job, self.device = job, device_of(pool)
        self.scorer = trained_scorer(job.cfg, job.frame_weights).to(self.device)
        self.bank = read_gallery(job.folder / GALLERY, job.n_classes, job.cfg.embed.gallery_dtype, self.device)
        split = read_split(job.split)
        self.pool_keys = frozenset([*split.keys("unlabelled"), *split.keys("held_out")])

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Score the unlabelled and held-out clips of one part of the embeddings and write the part of the same name."""
        answer = {"part": row["part"], "pairs": 0, "seconds": 0.0, "whole_s": 0.0, "stopped": False}
        if preempt.requested(self.job.run):
            return {**answer, "stopped": True}
        began = time.perf_counter()
        keys, embeddings = read_embeddings([self.job.embeddings / row["part"]], self.pool_keys)
        started = time.perf_counter()
        scores = self._scores(embeddings)
        seconds = time.perf_counter() - started
        columns = [pa.array(keys, pa.string()), pa.array([s.numpy() for s in scores], SCHEMA.field("scores").type)]
        write_part(self.job.folder / row["part"], pa.table(columns, schema=SCHEMA))
        whole = time.perf_counter() - began
        return {**answer, "pairs": len(keys) * len(self.bank), "seconds": seconds, "whole_s": whole}

    @torch.inference_mode()
    def _scores(self, embeddings: Tensor) -> Tensor:
        if not len(embeddings):
            return torch.empty(0, 0)
        wrapped = Scorer(self.scorer, embeddings.shape[1])
        loss = self.job.cfg.frame_stage.loss
        return class_scores(embeddings.to(self.device), self.bank, wrapped, loss).float().cpu()


def score(job: ScoreJob, pool: Pool, count: Count) -> list[dict[str, Any]]:
    """Score the pool into `job.folder`; return one row of numbers per part that was made."""
    rows = [{"part": path.name} for path in parts(job.embeddings)]
    return make_parts(Aligner, job, rows, pool, count)
