"""The test of one f_E: each view that shows something new is seen once and counts once."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.training.checkpoint import save_weights
from jobs.config.recipes import load
from jobs.workers.clip_parts import ActionJob, evaluation_reader
from jobs.workers.evaluate import Tester as ModelTester
from jobs.workers.map_parts import Pool
from tests.shards.numbered import write

LENGTHS = {"short": 5, "close": 18, "long": 60}


@pytest.mark.parametrize(
    ("policy", "views"),
    [
        ("{policy: dense, frames: 8, stride: 2}", {"short": 1, "close": 4, "long": 10}),
        ("{frames: 8}", {"short": 1, "close": 4, "long": 9}),
    ],
)
def test_repeated_views_are_not_computed_and_do_not_count(tmp_path: Path, policy: str, views: dict[str, int]) -> None:
    cfg = load("smoke", [f"action_input.sampling={policy}", "evaluate.views=10", "evaluate.crops=3"])
    write(tmp_path, LENGTHS, "h264")  # square images, so the three crops are one
    torch.manual_seed(0)
    encoder = build_action_encoder(cfg.action_encoder, 4).eval()
    save_weights(tmp_path / "w.safetensors", {f"encoder.{n}": v for n, v in encoder.state_dict().items()})
    job = ActionJob(
        cfg=cfg,
        run=tmp_path,
        folder=tmp_path,
        shards=tmp_path / "shards",
        n_classes=4,
        action_weights=tmp_path / "w.safetensors",
    )
    tester, seen = ModelTester(job, Pool(actors=1, cpus=1, gpu=False)), []
    tester.encoder.register_forward_pre_hook(lambda _, frames: seen.append(len(frames[0])))  # type: ignore[operator]
    tester({"part": "part-00000.parquet", "keys": list(LENGTHS)})
    table = pq.read_table(tmp_path / "part-00000.parquet").to_pylist()
    assert {row["key"]: row["views"] for row in table} == views
    assert sum(seen) == sum(views.values())
    reader = evaluation_reader(cfg, job.shards, [cfg.test_input().view()], torch.device("cpu"))
    for row in table:
        frames = reader.read([row["key"]]).frames[0].unique(dim=0)
        with torch.inference_mode():
            wanted = encoder(frames).softmax(-1).double().mean(0)
        assert len(frames) == views[row["key"]]
        torch.testing.assert_close(torch.tensor(row["p"]).double(), wanted, atol=1e-5, rtol=1e-4)
