"""Pre-training of f_A by GITDL, on the videos alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jobs.pipeline.stages.base import Keys, tags_of, weights_file
from jobs.pipeline.stages.training import (
    FIRST_ROUND,
    NO_SCORER,
    READING,
    Schedule,
    Tags,
    TrainingStage,
    items_of,
    optim_keys,
)
from jobs.workers import models
from shards.read.streams import StreamInput


@dataclass(frozen=True, kw_only=True)
class PretrainStage(TrainingStage):
    """GITDL of f_A."""

    kind = "pretrain"

    @property
    def folder(self) -> Path:
        """Shared by all methods of the label draw."""
        return self.paths.pretrain(self.seed)

    @property
    def keys(self) -> Keys:
        """The encoder with its start, and the section."""
        return Keys(("frame_encoder", "pretrain", *READING), optim_keys("pretrain.train", NO_SCORER, FIRST_ROUND))

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, whose test clips stay out, published weights, and the code of a network of the user's own."""
        encoder = self.cfg.frame_encoder
        weights = weights_file("frame_encoder.weights", encoder.weights_file)
        return {**self.run_of.drawn(self.seed), **weights, **encoder.code}

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.kind, self.seed, None, None)

    def run(self) -> None:
        """Train."""
        cfg = self.cfg.pretrain
        items = items_of(self.run_of, self.seed, "all" if cfg.with_labelled else "unlabelled", None)
        streams = {"videos": StreamInput(items=items, reader=self.cfg.reader(cfg.input.view(), order=cfg.order))}
        objective = partial(models.gitdl, self.cfg, self.seed)
        self.fit(Schedule(train=cfg.train), streams, objective, self.cfg.frame_encoder.precision)
