"""What a sweep finds of its base run: shards, a split, a pre-trained f_A; and trials that train in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from finepseudo.run_folder.layout import FAILURE, WEIGHTS, RunPaths
from finepseudo.training.checkpoint import save_weights
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.config.recipes import load
from jobs.config.run import RunConfig
from jobs.tune import trials
from jobs.tune.space import SpaceConfig, read_space
from jobs.workers import models
from jobs.workers.train import TrainJob, train_rank
from shards.annotations.base import Clip, make_annotations, write_clips
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, write_split
from tests.shards.numbered import write

CLASSES = ["tuck é", "pike", "twist, half"]
KEYS = [f"clip{i:02d}" for i in range(15)]
QUICK = "{epochs: null, steps: 2, log_every: 1, checkpoint_every: 1}"
OVERRIDES = [
    "seeds=[0, 1]",
    "reading={threads: 1, prefetch: 0}",
    *(f"{name}={QUICK}" for name in ("pretrain.train", "frame_stage.train", "action_stage.train")),
    f"action_stage.self_train={QUICK}",
    *(f"{name}.batch_size=4" for name in ("pretrain.order", "frame_stage.order", "action_stage.self_order")),
    *(f"{name}.augment.size=24" for name in ("pretrain.input", "frame_input", "action_input")),
]


def write_base(folder: Path) -> RunConfig:
    """Write a run of three classes with three labelled clips each, in two label draws."""
    cfg = load("smoke", [*OVERRIDES, f"out={folder}"])
    run = RunPaths(cfg.folder)
    write(run.data, dict.fromkeys(KEYS, 16), "h264")
    rows = [
        Clip(name=key, path=f"{key}.avi", label=i % 3, role="test" if i > 11 else "train", source=key)
        for i, key in enumerate(KEYS)
    ]
    found = make_annotations(rows, CLASSES, "toy", "1")
    write_clips(run.clips, found)
    for seed in cfg.seeds:
        run.split(seed).parent.mkdir(parents=True, exist_ok=True)
        write_split(run.split(seed), draw_split(found, SplitConfig(per_class=3), seed))
        start = run.pretrain(cfg.pretrain.owner(seed)) / WEIGHTS
        start.parent.mkdir(parents=True, exist_ok=True)
        save_weights(start, models.gitdl(cfg, seed).state_dict())
    return cfg


def space_of(folder: Path, text: str) -> SpaceConfig:
    """Read a space from its text."""
    (folder / "space.yaml").write_text(text)
    return read_space(folder / "space.yaml")


class InProcess:
    """Ray's part of a trial, in this process: what it is told, and which trainings were begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for Ray Train and Ray Tune."""
        self.said: list[dict[str, Any]] = []
        self.trained: list[str] = []
        self.stop: Path | None = None
        self.told_in_training = False
        monkeypatch.setattr(trials, "fit", self.fit)
        monkeypatch.setattr("ray.tune.integration.ray_train.TuneReportCallback", object)
        monkeypatch.setattr("ray.tune.report", self.hear)
        monkeypatch.setattr("ray.train.report", lambda line: self.hear(line) if self.told_in_training else None)

    def hear(self, line: dict[str, Any]) -> None:
        """Take a report; ask the run in `stop` to stop after it."""
        self.said.append(line)
        if self.stop:
            preempt.ask(self.stop)

    def fit(self, job: TrainJob, resources: object, callbacks: Sequence[object] = ()) -> None:
        """Train on one rank; what a look finds is told to Ray Tune where there are callbacks."""
        job.loop.folder.mkdir(parents=True, exist_ok=True)
        self.trained.append(job.loop.folder.name)
        self.told_in_training = bool(callbacks)
        outcome = train_rank(job, 0, 1, torch.device("cpu"))
        if outcome == "preempted":
            raise Preempted
        assert outcome == "done", (job.loop.folder / FAILURE).read_text()
