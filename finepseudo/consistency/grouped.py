"""A clip in groups of frames: each goes through one backbone, a head fuses them (SeFAR's dual-level elements)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from finepseudo.consistency.fusion_head import FusionHead
from finepseudo.consistency.perturb import picked
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.encoders.mc_dropout import DropoutLogits
from shards.read.groups import group_sizes, group_slots


class GroupedEncoder(nn.Module):
    """f_E whose clip is shared out to groups of frames; its own last layer rests."""

    def __init__(self, encoder: ActionEncoder, groups: Sequence[int], classes: int, dropout: float = 0.5) -> None:
        """Put the head on `encoder`; groups: their sizes, the context last, empty = a quarter, a quarter and half."""
        super().__init__()
        self.encoder, self.groups = encoder, tuple(groups)
        self.head = FusionHead(encoder.width, len(group_sizes(groups, 4)), classes, dropout=dropout)

    def features(self, frames: Tensor) -> Tensor:
        """Map frames in order of time [B, T, C, H, W] to fused features [B, width of the head]."""
        length = frames.shape[1]
        slots = group_slots(group_sizes(self.groups, length), length)
        return self.head.fuse(torch.stack([self.encoder.features(picked(frames, own)) for own in slots], dim=1))

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
