"""How alike the parts of every labelled and unlabelled video look to a trained f_E, one part file per chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from finepseudo.consistency.parts import PARTS, parts_of
from finepseudo.consistency.similarity import self_similarity
from jobs.progress import Count
from jobs.workers.clip_parts import ActionJob, ActionParts, make_parts
from jobs.workers.map_parts import Pool
from jobs.workers.part_files import chunks
from shards.read.groups import long_view

SCHEMA = pa.schema([("key", pa.string()), ("similarity", pa.float32())])


class Comparer(ActionParts[ActionJob]):
    """One actor."""

    def __init__(self, job: ActionJob, pool: Pool) -> None:
        """Load f_E."""
        super().__init__(job, pool, long_view(job.cfg.action_input.view(), PARTS))

    def table(self, keys: list[str]) -> pa.Table:
        """Compare the parts of the clips; those that fail are left out."""
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


def compare(job: ActionJob, keys: Sequence[str], pool: Pool, count: Count) -> list[dict[str, Any]]:
    """Compare the parts of every clip of `keys` into `job.folder`; return one row of numbers per part file made."""
    return make_parts(Comparer, job, chunks(keys, job.cfg.embed.chunk), pool, count)
