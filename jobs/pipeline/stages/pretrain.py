"""Pre-training on the videos alone: of f_A by GITDL, and of f_E by TCLR where it has no published weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.run_folder.yaml_text import read_yaml
from jobs.config.run import RunConfig
from jobs.config.sections import ContrastLookConfig
from jobs.pipeline.stages.base import Keys, Run, tags_of, weights_file
from jobs.pipeline.stages.training import (
    FIRST_ROUND,
    MC_DROPOUT,
    NO_SCORER,
    READING,
    Schedule,
    Tags,
    TrainingStage,
    optim_keys,
)
from shards.errors import UserError
from shards.read.config import MIN_COMMON
from shards.splits.label_split import read_split
from shards.storage.manifest import Manifest

if TYPE_CHECKING:
    from shards.types import ItemTable


@dataclass(frozen=True, kw_only=True)
class PretrainStage(TrainingStage):
    """GITDL of f_A."""

    kind = "pretrain"

    @property
    def folder(self) -> Path:
        """Shared by all methods of the label draw, and by all label draws where `pretrain.shared`."""
        return self.paths.pretrain(self.cfg.pretrain.owner(self.seed))

    @property
    def keys(self) -> Keys:
        """The encoder with its start, and the section; where it is skipped, the encoder alone."""
        if not self.cfg.pretrains:
            return Keys(("frame_encoder", "pretrain.skip"))
        return Keys(("frame_encoder", "pretrain", *READING), optim_keys("pretrain.train", NO_SCORER, FIRST_ROUND))

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, whose test clips stay out, published weights, and the code of a network of the user's own.

        Labels of a person change no video: the draw is read as it was before them, with what they reject.
        """
        encoder = self.cfg.frame_encoder
        weights = weights_file("frame_encoder.weights", encoder.weights_file)
        drawn = {"split": split_as_drawn(self.cfg, self.seed).parent / DONE}
        return {**self.run_of.drawn(self.seed), **drawn, **weights, **encoder.code}

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.kind, self.seed, None, None)

    def run(self) -> None:
        """Train, or take f_A as it starts."""
        from finepseudo.training.checkpoint import save_weights
        from jobs.workers import models
        from shards.read.streams import StreamInput

        cfg = self.cfg.pretrain
        if not self.cfg.pretrains:
            start = models.gitdl(self.cfg, self.seed)
            save_weights(self.folder / WEIGHTS, start.state_dict(), {"stage": self.name})
            weights = self.cfg.frame_encoder.weights or "random"
            self.run_of.reporter.tell(f"{self.name}: skipped, f_A starts from {weights}")
            return
        items = videos_of(self.cfg, self.seed)
        if note := slowed_note(self._lengths(items.keys), cfg.input.sampling.frames):
            self.run_of.reporter.tell(f"{self.name}: {note}")
        streams = {"videos": StreamInput(items=items, reader=self.cfg.reader(cfg.input.view(), order=cfg.order))}
        objective = partial(models.gitdl, self.cfg, self.seed)
        self.fit(Schedule(train=cfg.train), streams, objective, self.cfg.frame_encoder.precision)

    def _lengths(self, keys: Sequence[str]) -> npt.NDArray[np.int32]:
        """Count the frames of stored clips."""
        manifest = Manifest.open(self.paths.shards, self.cfg.reading.cache)
        return manifest.n_frames[manifest.positions(keys)]


PRETRAINED_LOOK = tuple(f"action_input.augment.{field.name}" for field in fields(ContrastLookConfig))
"""Keys of what f_E sees that TCLR has of its own."""


@dataclass(frozen=True, kw_only=True)
class ActionPretrainStage(TrainingStage):
    """TCLR of f_E."""

    kind = "pretrain"

    @property
    def folder(self) -> Path:
        """Beside the pre-training of f_A, and shared as that is."""
        return self.paths.action_pretrain(self.cfg.pretrain.owner(self.seed))

    @property
    def keys(self) -> Keys:
        """The backbone, the section, and what it takes from the input of f_E."""
        stride = ["action_input.sampling.stride"] if self.cfg.action_pretrain.stride is None else []
        read = ["action_encoder", "action_pretrain", "action_input.augment", "action_input.sampling.frames", *stride]
        unread = [*MC_DROPOUT, "action_encoder.dropout", *PRETRAINED_LOOK]
        unread += optim_keys("action_pretrain.train", NO_SCORER, FIRST_ROUND)
        return Keys((*read, "pretrain.with_labelled", *READING), unread)

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, whose test clips stay out, and the code of a network of the user's own."""
        drawn = {"split": split_as_drawn(self.cfg, self.seed).parent / DONE}
        return {**self.run_of.drawn(self.seed), **drawn, **self.cfg.action_encoder.code}

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of("action_pretrain", self.seed, None, None)

    def run(self) -> None:
        """Train."""
        from jobs.workers import models
        from shards.read.streams import StreamInput

        cfg, stage = self.cfg, self.cfg.action_pretrain
        reader = cfg.reader(stage.input(cfg.action_input).view(), order=stage.order)
        streams = {"videos": StreamInput(items=videos_of(cfg, self.seed), reader=reader)}
        objective = partial(models.tclr, cfg, self.seed)
        self.fit(Schedule(train=stage.train), streams, objective, cfg.action_encoder.precision)


def split_as_drawn(cfg: RunConfig, seed: int) -> Path:
    """Find the split of a seed without the labels that a person gave since."""
    paths = RunPaths(cfg.folder)
    return paths.drawn(seed) / paths.split(seed).name if cfg.split.reviewed else paths.split(seed)


def videos_of(cfg: RunConfig, seed: int) -> ItemTable:
    """List the videos of a draw that pre-training sees, without labels."""
    from shards.types import ItemTable

    split = read_split(split_as_drawn(cfg, seed))
    roles = ("labelled", "unlabelled") if cfg.pretrain.with_labelled else ("unlabelled",)
    return ItemTable.unlabelled(sorted(key for role in roles for key in split.keys(role)))


def is_elsewhere(run: Run) -> bool:
    """Tell whether this is one label draw of a run, which links the pre-training that they all share."""
    return run.cfg.pretrain.shared and run.paths.pretrain(None).is_symlink()


def check_unseen(run: Run, seed: int) -> None:
    """Refuse a label draw whose test clips the shared pre-training, made for the first draw, has seen."""
    whole, first = None, run.cfg.seeds[0]
    if is_elsewhere(run):
        whole = RunPaths(run.paths.pretrain(None).resolve().parent)
        first = int(read_yaml(whole.config)["seeds"][0])
    if run.cfg.pretrain.shared and seed != first:
        split = read_split(whole.split(first)) if whole else run.split(first)
        seen = {key for role in ("labelled", "unlabelled") for key in split.keys(role)}
        if leaked := sorted(seen.intersection(run.split(seed).keys("test"))):
            raise UserError(
                f"pretrain.shared = true: {len(leaked)} test clips of seed {seed} are trained on with seed {first}, "
                f"first {leaked[0]}; set pretrain.shared=false"
            )


def slowed_note(lengths: npt.NDArray[np.int32], frames: int) -> str | None:
    """Say that many clips of these lengths are too short for two clips of `frames` at strides of whole frames."""
    short = int((lengths < 2 * frames - 1).sum())
    if 2 * short <= len(lengths):
        return None
    fits = max(2 * MIN_COMMON, (int(np.median(lengths)) + 1) // 2)
    advice = f"; pretrain.input.sampling.frames={fits} fits half of them" if fits < frames else ""
    return f"{short} of {len(lengths)} clips have fewer than {2 * frames - 1} frames and are slowed down{advice}"
