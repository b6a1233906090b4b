"""Metric learning of f_A and f_S."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from finepseudo.methods.base import LABELLED, AnyMethod, TrainFrame
from finepseudo.run_folder.done import DONE, Input
from finepseudo.run_folder.layout import WEIGHTS
from jobs.pipeline.stages.base import Keys, name_of, tags_of
from jobs.pipeline.stages.pretrain import check_unseen
from jobs.pipeline.stages.training import (
    FIRST_ROUND,
    READING,
    Schedule,
    Tags,
    TrainingStage,
    items_of,
    labels_folder,
    labels_input,
    optim_keys,
    slowed,
)


@dataclass(frozen=True, kw_only=True)
class FrameEncoderStage(TrainingStage):
    """Round 0 on the labels, later rounds on labels and pseudo-labels."""

    kind = "frame_encoder"
    method: AnyMethod | None
    request: TrainFrame

    @property
    def folder(self) -> Path:
        """Where f_A of the round is."""
        return self.paths.frame_encoder(self.seed, name_of(self.method), self.request.number)

    @property
    def before(self) -> Path:
        """Where the weights are that it goes on from."""
        number = self.request.number
        if number == 0:
            return self.paths.pretrain(self.cfg.pretrain.owner(self.seed))
        return self.paths.frame_encoder(self.seed, name_of(self.method), number - 1)

    @property
    def keys(self) -> Keys:
        """The network without its start, which is among the inputs, and what it is trained with."""
        if self.cfg.frame_stage.skip:
            return Keys(("frame_encoder", "frame_stage.skip", "frame_stage.scorer"), ("frame_encoder.weights",))
        own = ["loss", "scorer", "freeze_image", "order", "self_train" if self.request.number else "train"]
        own += ["features"] if self.cfg.frame_stage.kept_views else []
        sections = ["frame_encoder", *(f"frame_stage.{name}" for name in own), "frame_input", *READING]
        unread = "frame_encoder.weights"
        if self.request.number:
            return Keys((*sections, "rounds"), (unread,))
        return Keys(sections, (unread, *optim_keys("frame_stage.train", FIRST_ROUND)))

    @property
    def inputs(self) -> Mapping[str, Input]:
        """The label draw, the weights before, the network's code, the accepted pseudo-labels."""
        made = {**self.run_of.drawn(self.seed), "weights": self.before / DONE, **self.cfg.frame_encoder.code}
        return {**made, **labels_input(self.labels)}

    @property
    def labels(self) -> Path | None:
        """Where the pseudo-labels are."""
        return labels_folder(self.run_of, self.seed, self.method, self.request.labels)

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.kind, self.seed, self.method, self.request.number)

    def run(self) -> None:
        """Train, or leave f_A as it is."""
        from finepseudo.training.checkpoint import save_weights
        from jobs.workers import models
        from shards.read.streams import StreamInput

        cfg, stage, request = self.cfg, self.cfg.frame_stage, self.request
        if stage.skip:
            same = models.alignability(cfg, self.seed, self.before / WEIGHTS)
            save_weights(self.folder / WEIGHTS, same.state_dict(), {"stage": self.name})
            return
        check_unseen(self.run_of, self.seed)
        items = items_of(self.run_of, self.seed, "labelled", self.labels)
        train = slowed(stage.self_train) if request.number else stage.train
        reader = replace(cfg.reader(cfg.frame_input.view(), order=stage.order), fixed_views=stage.kept_views)
        self.fit(
            Schedule(train=train, part=request.part, parts=request.parts),
            {LABELLED: StreamInput(items=items, reader=reader)},
            partial(models.alignability, cfg, self.seed, (self.before / WEIGHTS).resolve()),
            cfg.frame_encoder.precision,
            features=stage.kept_views > 0,
        )
