"""Every stage that computes, called in this process: training, embedding, alignment and the test, without Ray."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from finepseudo.compute.networks import prepare_torch
from finepseudo.methods.base import LABELLED, TrainAction
from finepseudo.run_folder.layout import WEIGHTS
from finepseudo.training.checkpoint import load_weights, save_weights
from jobs.config.recipes import load
from jobs.config.run import RunConfig
from jobs.config.training import TrainConfig
from jobs.workers import models
from jobs.workers.clip_parts import ActionJob
from jobs.workers.embed import Embedder, EmbedJob
from jobs.workers.evaluate import Tester
from jobs.workers.map_parts import Pool
from jobs.workers.part_files import GALLERY
from jobs.workers.score import Aligner, ScoreJob, pack_gallery
from jobs.workers.train import TrainJob, train_rank
from jobs.workers.train_loop import LoopJob
from jobs.workers.votes import FrameVoteJob, FrameVoter, verification
from shards.annotations.base import Clip, make_annotations
from shards.read.streams import StreamInput
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, write_split
from shards.types import ItemTable
from tests.shards.numbered import write

CLASSES = 4
KEYS = [f"clip{i:02d}" for i in range(16)]
LABELS = np.arange(len(KEYS), dtype=np.int32) % CLASSES


def run_stages(folder: Path, device: torch.device, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train f_A twice and f_E, embed, align and test; give the weights, the scores and the votes."""
    cfg = load("smoke", overrides)
    write(folder, dict.fromkeys(KEYS, 24), "h264")
    shards, weights = folder / "shards", {}
    first = models.ActionTraining(
        request=TrainAction(number=0, start=None),
        method=None,
        seed=0,
        n_classes=CLASSES,
        steps=4,
        start=None,
        labels=None,
        reads=(),
    )
    makers = {
        "pretrain": (partial(models.gitdl, cfg, 0), cfg.pretrain.input, cfg.pretrain.order),
        "frame": (
            partial(models.alignability, cfg, 0, folder / "pretrain" / WEIGHTS),
            cfg.frame_input,
            cfg.frame_stage.order,
        ),
        "action": (
            partial(models.action_objective, cfg, first),
            cfg.action_input,
            cfg.action_stage.self_order,
        ),
    }
    for name, (make, inputs, order) in makers.items():
        (folder / name).mkdir()
        loop = LoopJob(
            run=folder, folder=folder / name, stage=name, train=TrainConfig(steps=4, log_every=2), seed=3, tags={}
        )
        items = ItemTable(keys=KEYS, labels=LABELS, pseudo=np.zeros(len(KEYS), bool))
        job = TrainJob(
            loop=loop,
            shards=shards,
            streams={LABELLED: StreamInput(items=items, reader=cfg.reader(inputs.view(), order=order))},
            objective=make,
            threads=1,
            deterministic=cfg.deterministic,
            precision=(cfg.action_encoder if name == "action" else cfg.frame_encoder).precision,
        )
        assert train_rank(job, 0, 1, device) == "done"
        weights[name] = load_weights(folder / name / WEIGHTS)
    return {**weights, **_apply(cfg, folder, device)}


def _apply(cfg: RunConfig, folder: Path, device: torch.device) -> dict[str, Any]:
    clips = [
        Clip(name=key, path=key, label=int(label), role="test" if i > 13 else "train", source=key)
        for i, (key, label) in enumerate(zip(KEYS, LABELS, strict=True))
    ]
    split = draw_split(make_annotations(clips, list("abcd"), "any", "1"), SplitConfig(per_class=1), 0)
    write_split(folder / "split.parquet", split)
    pool, frame, action = Pool(actors=1, cpus=1, gpu=device.type == "cuda"), folder / "frame", folder / "action"
    told: dict[str, Any] = {"cfg": cfg, "run": folder, "n_classes": CLASSES}
    embed = {"shards": folder / "shards", "action_weights": action / WEIGHTS}
    embedder = Embedder(
        EmbedJob(**told, **embed, folder=folder / "embedded", seed=0, frame_weights=frame / WEIGHTS), pool
    )
    row = embedder({"part": "part-00000.parquet", "keys": KEYS})
    assert (row["clips"], row["bad"]) == (len(KEYS), 0)
    truth = dict(zip(KEYS, LABELS.tolist(), strict=True))
    labelled = {key: truth[key] for key in split.keys("labelled")}
    save_weights(
        folder / "scored" / GALLERY, pack_gallery(cfg, folder / "embedded", labelled, CLASSES, seed=0, number=0)
    )
    aligner = Aligner(
        ScoreJob(
            **told,
            folder=folder / "scored",
            embeddings=folder / "embedded",
            frame_weights=frame / WEIGHTS,
            split=folder / "split.parquet",
        ),
        pool,
    )
    assert aligner({"part": row["part"]})["pairs"] == len(split.keys("unlabelled")) * len(labelled)
    voter = FrameVoter(
        FrameVoteJob(
            **told,
            folder=folder / "voted",
            shards=folder / "shards",
            frame_weights=frame / WEIGHTS,
            gallery=folder / "scored" / GALLERY,
        ),
        pool,
    )
    assert voter({"part": row["part"], "keys": KEYS})["clips"] == len(KEYS)
    Tester(ActionJob(**told, **embed, folder=folder / "tested"), pool)({"part": row["part"], "keys": KEYS[:3]})
    prepare_torch(1, False)
    scores = pq.read_table(folder / "scored" / row["part"])["scores"].to_pylist()
    by_frame = pq.read_table(folder / "voted" / row["part"]).to_pylist()
    voted = torch.tensor([r["scores"] for r in by_frame if r["key"] in set(split.keys("unlabelled"))])
    found = verification(voter.job, [folder / "voted" / row["part"]], truth, seed=0)
    assert found is not None
    assert {name: set(values) for name, values in found.items()} == {
        name: {"balanced", "natural"} for name in ("pooled", "framewise", "dtw", "score")
    }
    assert all(0 <= value <= 1 for values in found.values() for value in values.values())
    return {
        "scores": torch.tensor(scores),
        "voted": voted,
        "embedded": pq.read_table(folder / "embedded" / row["part"]).to_pylist(),
    }
