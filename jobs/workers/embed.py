"""Embed the labelled and the unlabelled clips of a split with both encoders, one pass, one part file per chunk.

Where the frame features of f_A are kept, its frames are decoded only for the parts of which some are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from finepseudo.compute.networks import placed
from jobs.config.sections import InputConfig
from jobs.progress import Count
from jobs.workers.bars import PASSES
from jobs.workers.clip_parts import ActionJob, ActionParts, make_parts
from jobs.workers.features import FeatureStore, clip_features, store_of
from jobs.workers.map_parts import Pool
from jobs.workers.models import trained_frame_encoder
from jobs.workers.part_files import chunks
from jobs.workers.train_loop import seed_of
from shards.read.augment import recode
from shards.types import ClipBatch

ACTION, FRAME = "action", "frame"  # the views of f_E and f_A

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("T", pa.int32()),
        ("F", pa.int32()),
        ("p_E", pa.list_(pa.float32())),
        ("uncertainty", pa.float32()),
        *((name, pa.list_(pa.float32())) for name in PASSES),
        ("valid", pa.bool_()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedJob(ActionJob):
    """What every actor is told.

    frame_weights: None leaves f_A out; passes: whether what MC-dropout says is wanted whole.
    """

    seed: int
    frame_weights: Path | None
    passes: bool = False


def same_images(one: InputConfig, other: InputConfig) -> bool:
    """Tell whether two encoders see the same frames and crops of a clip, so that one view serves both."""
    a, b = one.augment, other.augment
    return one.sampling == other.sampling and (a.size, a.crops) == (b.size, b.crops)


class Embedder(ActionParts[EmbedJob]):
    """One actor: both encoders and the reader of what they see."""

    def __init__(self, job: EmbedJob, pool: Pool) -> None:
        """Load the encoders."""
        cfg = job.cfg
        view, self.frame = cfg.action_input.view(ACTION), None
        super().__init__(job, pool, view)
        self.store: FeatureStore | None = None
        self.reader_of_both = self.reader
        if job.frame_weights is not None:
            frame = trained_frame_encoder(cfg, job.frame_weights)
            if cfg.frame_stage.kept_views:
                self.store = store_of(cfg, job.run, self.reader.manifest, frame)
            self.frame = placed(frame, self.device)
            if not same_images(cfg.action_input, cfg.frame_input):
                self.reader_of_both = self.reader_of(view, cfg.frame_input.view(FRAME))

    def table(self, keys: list[str]) -> pa.Table:
        """Embed the clips and let f_E vote."""
        votes, embedded = [], []
        kept = {key: self.store.find(key, None) for key in keys} if self.store else {}
        whole = bool(kept) and all(features is not None for features in kept.values())
        reader = self.reader if whole else self.reader_of_both
        for batch in reader.batches(keys, self.job.cfg.embed.batch):
            votes.append(self._vote(batch))
            if self.frame is not None:
                shown = self._features(batch, kept) if self.store else self._frame_view(batch)
                embedded.append(self.frame(shown.to(self.device)).float().cpu())
        p_e, uncertainty, valid, *passes = (torch.cat(column) for column in zip(*votes, strict=True))
        return to_table(keys, torch.cat(embedded) if embedded else None, p_e, uncertainty, valid, passes)

    def _vote(self, batch: ClipBatch) -> tuple[Tensor, ...]:
        frames = batch.views[ACTION].frames[:, 0].to(self.device)
        said = self.encoder.dropout_logits(frames, seed_of(self.job.seed, "dropout masks"))
        temperatures = (1.0, self.job.cfg.action_encoder.mc_temperature) if self.job.passes else ()
        passes = [x.float().cpu() for t in temperatures for x in said.statistics(t)]
        p_e, spread = (x.float().cpu() for x in said.prediction())
        return p_e, spread, batch.valid.cpu(), *passes

    def _features(self, batch: ClipBatch, kept: Mapping[str, Tensor | None]) -> Tensor:
        """Give the frame features of a batch [B, T, D], those that are not kept from its frames."""
        if self.store is None or self.frame is None:
            raise ValueError("no features are kept")
        found = []
        for row, key in enumerate(batch.keys):
            features = kept[key]
            if features is None:
                frames = self._frame_view(batch)[row].to(self.device)
                features = clip_features(self.frame, frames)
                features = self.store.keep(key, None, features) if batch.valid[row] else features.bfloat16().cpu()
            found.append(features.float())
        return torch.stack(found)

    def _frame_view(self, batch: ClipBatch) -> Tensor:
        """Give what f_A sees [B, T, C, H, W]."""
        if FRAME in batch.views:
            return batch.views[FRAME].frames[:, 0]
        cfg = self.job.cfg
        return recode(batch.views[ACTION].frames[:, 0], cfg.action_input.augment, cfg.frame_input.augment)


def to_table(  # noqa: PLR0917
    keys: Sequence[str],
    embeddings: Tensor | None,
    p_e: Tensor,
    uncertainty: Tensor,
    valid: Tensor,
    passes: Sequence[Tensor] = (),
) -> pa.Table:
    """Lay out one part: embeddings [N, T, F] or None, p_e [N, C], uncertainty [N], valid bool [N].

    passes: the four of `Passes` [N, C], or none.
    """
    n = len(keys)
    t, f = (embeddings.shape[1], embeddings.shape[2]) if embeddings is not None else (0, 0)
    flat = [row.flatten().numpy() for row in embeddings] if embeddings is not None else [[]] * n
    p_e = torch.where(valid[:, None], p_e, torch.zeros_like(p_e))
    said = [list(values.numpy()) for values in passes] or [[[]] * n] * len(PASSES)
    columns = [list(keys), flat, [t] * n, [f] * n, list(p_e.numpy()), uncertainty.numpy(), *said, valid.numpy()]
    return pa.table([pa.array(c, type=field.type) for c, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def embed(job: EmbedJob, keys: Sequence[str], pool: Pool, count: Count) -> list[dict[str, Any]]:
    """Embed every clip of `keys` into `job.folder`; return one row of numbers per part that was made."""
    return make_parts(Embedder, job, chunks(keys, job.cfg.embed.chunk), pool, count)
