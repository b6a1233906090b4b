"""A clip in groups of frames: each goes through one backbone, a head fuses them (SeFAR's dual-level elements)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from finepseudo.consistency.fusion_head import FusionHead
from finepseudo.consistency.perturb import picked
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.encoders.mc_dropout import DropoutLogits
from shards.read.groups import group_sizes, group_slots


class SharedOut(Protocol):
    """A backbone whose row says `grouped`: it takes `frames` frames, or a group of them with the group's number."""

    frames: int

    def share_out(self, slots: Sequence[Sequence[int]]) -> None:
        """Give each group of frames, at its slots of the clip, a time code of its own."""
        ...


class GroupedEncoder(nn.Module):
    """f_E whose clip is shared out to groups of frames; its own last layer rests."""

    def __init__(self, encoder: ActionEncoder, groups: Sequence[int], classes: int, dropout: float = 0.5) -> None:
        """Put the head on `encoder`; groups: their sizes, the context last, empty = a quarter, a quarter and half."""
        super().__init__()
        self.encoder, self.groups = encoder, tuple(groups)
        if encoder.cfg.row.grouped:
            backbone = cast(SharedOut, encoder.backbone)
            backbone.share_out(self._slots(backbone.frames))
        self.head = FusionHead(encoder.width, len(group_sizes(groups, 4)), classes, dropout=dropout)

    def features(self, frames: Tensor) -> Tensor:
        """Map frames in order of time [B, T, C, H, W] to fused features [B, width of the head]."""
        coded, slots = self.encoder.cfg.row.grouped, self._slots(frames.shape[1])
        seen = (self.encoder.features(picked(frames, own), i if coded else None) for i, own in enumerate(slots))
        return self.head.fuse(torch.stack(list(seen), dim=1))

    def _slots(self, frames: int) -> list[list[int]]:
        return group_slots(group_sizes(self.groups, frames), frames)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames in order of time [B, T, C, H, W] to logits [B, C]."""
        return self.head.classify(self.features(frames))

    @torch.no_grad()
    def dropout_logits(self, frames: Tensor, seed: int = 0) -> DropoutLogits:
        """Classify frames in order of time [B, T, C, H, W] without dropout and under masks of the head."""
        passes, drop = self.encoder.cfg.mc_passes, self.head.dropout.p
        return DropoutLogits.of(self.features(frames), self.head.classifier, passes=passes, dropout=drop, seed=seed)

    def predict(self, frames: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return class probabilities [B, C] and the spread [B] of the largest over dropout masks drawn from `seed`."""
        return self.dropout_logits(frames, seed).prediction()
