"""Contrast of parts of videos, without labels: what the two teachers of TimeBalance are pre-trained by.

The temporally-invariant one takes two parts of one video for the same and other videos for others (SimCLR); the
temporally-distinctive one tells the parts of one video apart (TCLR, Dave et al., 2021: local-local and global-local).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from finepseudo.consistency.names import STRONG, WEAK
from finepseudo.consistency.parts import PARTS, parts_of, whole_of
from finepseudo.consistency.stepped import Stepped
from finepseudo.distributed import global_mean
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.encoders.pooling import bin_means
from finepseudo.encoders.stages import staged, watched
from finepseudo.training.contrast import matched, nt_xent, nt_xent_across_ranks, projector
from finepseudo.training.objectives import Batches, StepOutput, single
from shards.types import ClipBatch


class InvariantObjective(Stepped):
    """Pre-training of f_I: two parts of a video, each in an augmentation of its own, are one instance."""

    def __init__(self, encoder: ActionEncoder, temperature: float, seed: int) -> None:
        """Train `encoder` and its projection head."""
        super().__init__(seed)
        self.encoder, self.temperature = encoder, temperature
        self.head = projector(encoder.width)

    def forward(self, batches: Batches) -> StepOutput:
        """Compute NT-Xent of two parts, drawn once a step, over the clips of all ranks."""
        slots, (one, two) = _both(batches)
        first, second = np.random.default_rng((self.seed, self.done)).choice(PARTS, 2, replace=False).tolist()
        seen = torch.cat([parts_of(one)[:, first], parts_of(two)[:, second]])
        mine, other = self.head(self.encoder.features(seen)).chunk(2)
        loss = nt_xent_across_ranks(mine, other, slots, self.temperature)
        return StepOutput(loss, {"train/loss": loss.detach()})


class DistinctiveObjective(Stepped):
    """Pre-training of f_D: the parts of a video, each in two augmentations, are told apart.

    Local-local: a part is found by its other augmentation among all parts of its video. Global-local: the features over
    time of one clip that spans the video are matched with its parts; where there are fewer of them than parts, with the
    means of as many groups of parts.
    """

    def __init__(self, encoder: ActionEncoder, temperature: float, seed: int, *, spans: bool) -> None:
        """Train `encoder` and its projection heads; spans: by global-local, too."""
        super().__init__(seed)
        self.encoder, self.temperature, self.spans = encoder, temperature, spans
        self.head = projector(encoder.width)
        if spans:
            self.part_head, self.time_head = projector(encoder.width), projector(staged(encoder).stage_width)

    def forward(self, batches: Batches) -> StepOutput:
        """Compute the loss within each video, the mean over the clips of all ranks."""
        _, (one, two) = _both(batches)
        every = torch.ones(len(one), dtype=torch.bool, device=one.device)
        seen = torch.cat([parts_of(frames) for frames in (one, two)]).flatten(0, 1)
        features = self.encoder.features(seen).view(2, len(one), PARTS, self.encoder.width)
        mine, other = self.head(features)
        apart = global_mean(nt_xent(mine, other, every[:, None].expand(-1, PARTS), self.temperature).mean(dim=1), every)
        whole = global_mean(self._spanning(one, features[0]), every) if self.spans else apart * 0
        loss = apart + whole
        metrics = {"train/loss": loss, "train/local_local": apart, "train/global_local": whole}
        return StepOutput(loss, {name: value.detach() for name, value in metrics.items()})

    def _spanning(self, frames: Tensor, local: Tensor) -> Tensor:
        with watched(self.encoder) as seen:
            self.encoder.features(whole_of(frames))
        count = min(PARTS, seen[-1].shape[1])
        times, parts = bin_means(seen[-1], count, 1), bin_means(local, count, 1)
        return matched(self.time_head(times), self.part_head(parts), self.temperature)


def _both(batches: Batches) -> tuple[int, tuple[Tensor, Tensor]]:
    """Give the slots of the batch and the frames of both augmentations [B, P T, C, H, W] of its sound clips."""
    batch: ClipBatch = single(batches)
    sound = batch.sound()
    return len(batch.keys), (sound.views[WEAK].frames[:, 0], sound.views[STRONG].frames[:, 0])
