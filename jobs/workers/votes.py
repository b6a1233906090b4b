"""What f_A says of clips by itself: embedded and aligned with the gallery of labelled clips, as the pool is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from finepseudo.alignment.distances import class_scores, pair_distances
from finepseudo.compute.networks import placed
from finepseudo.evaluation.verification import Study, verification_study
from finepseudo.soft_dtw import soft_dtw_pairwise
from jobs.progress import Count
from jobs.workers.clip_parts import ClipJob, ClipParts, make_parts
from jobs.workers.map_parts import Pool
from jobs.workers.models import trained_frame_encoder, trained_scorer
from jobs.workers.part_files import chunks, parts, read_embeddings
from jobs.workers.score import Scorer, read_gallery

PART = pa.schema(
    [
        ("key", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("T", pa.int32()),
        ("F", pa.int32()),
        ("scores", pa.list_(pa.float32())),
        ("valid", pa.bool_()),
    ]
)
VERIFIED = 1000
"""Clips whose pairs are verified: half a million pairs, a second of work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameVoteJob(ClipJob):
    """What every actor is told: where f_A, f_S and the gallery of the same round are."""

    frame_weights: Path
    gallery: Path


class FrameVoter(ClipParts[FrameVoteJob]):
    """One actor: f_A, f_S, the gallery and the reader."""

    def __init__(self, job: FrameVoteJob, pool: Pool) -> None:
        """Load the encoder and take the gallery."""
        super().__init__(job, pool)
        cfg = job.cfg
        self.encoder = placed(trained_frame_encoder(cfg, job.frame_weights), self.device)
        self.scorer = trained_scorer(cfg, job.frame_weights).to(self.device)
        self.bank = read_gallery(job.gallery, job.n_classes, cfg.embed.gallery_dtype, self.device)
        self.reader = self.reader_of(cfg.frame_input.view())

    def table(self, keys: list[str]) -> pa.Table:
        """Embed and align the clips."""
        embedded, valid = [], []
        for batch in self.reader.batches(keys, self.job.cfg.embed.batch):
            embedded.append(self.encoder(batch.frames[:, 0].to(self.device)).float())
            valid += batch.valid.tolist()
        u = torch.cat(embedded)
        wrapped = Scorer(self.scorer, u.shape[1])
        scores = class_scores(u, self.bank, wrapped, self.job.cfg.frame_stage.loss).float().cpu()
        flat, rows = [row.flatten().numpy() for row in u.cpu()], [row.numpy() for row in scores]
        columns = [keys, flat, [u.shape[1]] * len(u), [u.shape[2]] * len(u), rows, valid]
        return pa.table([pa.array(c, type=f.type) for c, f in zip(columns, PART, strict=True)], schema=PART)


def align_clips(job: FrameVoteJob, keys: Sequence[str], pool: Pool, count: Count) -> list[Path]:
    """Align clips with the gallery, in part files of `job.folder`; return those in key order."""
    make_parts(FrameVoter, job, chunks(keys, job.cfg.embed.chunk), pool, count)
    return parts(job.folder)


@torch.inference_mode()
def verification(job: FrameVoteJob, paths: Sequence[Path], labels: Mapping[str, int], seed: int) -> Study | None:
    """Judge how well same-class and different-class pairs of clips are told apart, by S and by three measures more.

    labels: key -> class of the clips to pair, of which at most `VERIFIED` are drawn. None where there is no such pair.
    """
    drawn = np.random.default_rng(seed).permutation(sorted(labels))[:VERIFIED]
    keys, embeddings = read_embeddings(paths, frozenset(drawn.tolist()))
    if len(keys) < 2:
        return None
    loss = job.cfg.frame_stage.loss
    dtw = soft_dtw_pairwise(embeddings, gamma=loss.gamma)
    distances = dtw if loss.distance == "soft_dtw" else pair_distances(embeddings, loss)
    score = Scorer(trained_scorer(job.cfg, job.frame_weights), embeddings.shape[1])(distances)
    return verification_study(embeddings, [labels[key] for key in keys], dtw, score, seed)
