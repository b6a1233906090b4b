"""What every actor over clips does with a row: a part file, counts, and nothing once a stop was requested."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from jobs.cluster import preempt
from jobs.config.recipes import load
from jobs.workers.clip_parts import ClipJob, ClipParts
from jobs.workers.map_parts import Pool

ROW = {"part": "part-000000.parquet", "keys": ["a", "b", "c"]}


class Lengths(ClipParts[ClipJob]):
    """Writes the length of each key; the last clip of a row is not valid, if the part says so at all."""

    says = True

    def table(self, keys: list[str]) -> pa.Table:
        assert torch.is_inference_mode_enabled()
        columns = {"key": keys, "length": [len(key) for key in keys]}
        return pa.table({**columns, "valid": [key != keys[-1] for key in keys]} if self.says else columns)


@pytest.fixture
def actor(tmp_path):
    job = ClipJob(cfg=load("smoke"), run=tmp_path, folder=tmp_path / "parts", shards=tmp_path, n_classes=2)
    return Lengths(job, Pool(actors=1, cpus=1, gpu=False))


@pytest.mark.parametrize(("says", "bad"), [(True, 1), (False, 0)])
def test_a_row_becomes_a_part_and_its_numbers(actor, says, bad):
    actor.says = says
    told = actor(ROW)
    assert (told["part"], told["clips"], told["bad"], told["stopped"]) == (ROW["part"], 3, bad, False)
    assert told["seconds"] > 0
    assert pq.read_table(actor.job.folder / ROW["part"])["key"].to_pylist() == ROW["keys"]


def test_after_a_stop_request_nothing_is_made(actor):
    preempt.ask(actor.job.run)
    told = actor(ROW)
    assert told["stopped"] and told["clips"] == 0
    assert not actor.job.folder.exists()
