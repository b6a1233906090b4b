"""Pre-training of f_A by GITDL, on the videos alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.run_folder.yaml_text import read_yaml
from finepseudo.training.checkpoint import save_weights
from jobs.pipeline.stages.base import Keys, Run, tags_of, weights_file
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
from shards.errors import UserError
from shards.read.config import MIN_COMMON
from shards.read.streams import StreamInput
from shards.splits.label_split import read_split
from shards.storage.manifest import Manifest


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
        """The label draw, whose test clips stay out, published weights, and the code of a network of the user's own."""
        encoder = self.cfg.frame_encoder
        weights = weights_file("frame_encoder.weights", encoder.weights_file)
        return {**self.run_of.drawn(self.seed), **weights, **encoder.code}

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.kind, self.seed, None, None)

    def run(self) -> None:
        """Train, or take f_A as it starts."""
        cfg = self.cfg.pretrain
        if not self.cfg.pretrains:
            start = models.gitdl(self.cfg, self.seed)
            save_weights(self.folder / WEIGHTS, start.state_dict(), {"stage": self.name})
            weights = self.cfg.frame_encoder.weights or "random"
            self.run_of.reporter.say(f"{self.name}: skipped, f_A starts from {weights}")
            return
        items = items_of(self.run_of, self.seed, "all" if cfg.with_labelled else "unlabelled", None)
        if note := slowed_note(self._lengths(items.keys), cfg.input.sampling.frames):
            self.run_of.reporter.say(f"{self.name}: {note}")
        streams = {"videos": StreamInput(items=items, reader=self.cfg.reader(cfg.input.view(), order=cfg.order))}
        objective = partial(models.gitdl, self.cfg, self.seed)
        self.fit(Schedule(train=cfg.train), streams, objective, self.cfg.frame_encoder.precision)

    def _lengths(self, keys: Sequence[str]) -> npt.NDArray[np.int32]:
        """Count the frames of stored clips."""
        manifest = Manifest.open(self.paths.shards, self.cfg.reading.cache)
        return manifest.n_frames[manifest.positions(keys)]


def is_elsewhere(run: Run) -> bool:
    """Tell whether this is one label draw of a run, which links the pre-training that they all share."""
    return run.cfg.pretrain.shared and run.paths.pretrain(None).is_symlink()


def check_unseen(run: Run, seed: int) -> None:
    """Refuse a label draw whose test clips the shared pre-training, made for the first draw, has seen."""
    first, split_of = run.cfg.seeds[0], run.split
    if is_elsewhere(run):
        whole = RunPaths(run.paths.pretrain(None).resolve().parent)
        first = int(read_yaml(whole.config)["seeds"][0])
        split_of = lambda seed: read_split(whole.split(seed))  # noqa: E731
    if run.cfg.pretrain.shared and seed != first:
        split = split_of(first)
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
