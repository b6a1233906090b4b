"""MC-dropout: what a classification layer says under several dropout masks, over features that were computed once.

The networks here drop out before their last layer alone, so that this is where chance comes from (UPS, Rizve et al.,
ICLR 2021). The masks are drawn from a seed and shared by all clips: what is said of a clip depends neither on its batch
nor on its place in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class DropoutLogits:
    """logits [B, C] without dropout, passes [K, B, C] with one mask each."""

    logits: Tensor
    passes: Tensor

    @staticmethod
    def of(
        features: Tensor, layer: Callable[[Tensor], Tensor], *, passes: int, dropout: float, seed: int
    ) -> DropoutLogits:
        """Classify features [B, D] by `layer`, as they are and under `passes` masks."""
        generator = torch.Generator().manual_seed(seed)
        kept = torch.rand(passes, features.shape[1], generator=generator) >= dropout
        masks = (kept / (1 - dropout)).to(features)
        return DropoutLogits(layer(features), torch.stack([layer(features * mask) for mask in masks]))

    def prediction(self) -> tuple[Tensor, Tensor]:
        """Return class probabilities [B, C] without dropout, and the spread [B] of the largest over the passes."""
        probabilities = self.logits.softmax(-1)
        spread = self.passes.softmax(-1).std(0)
        return probabilities, spread.gather(1, probabilities.argmax(-1)[:, None])[:, 0]

    def statistics(self, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation [B, C] of softmax(logits / temperature) over the passes."""
        probabilities = (self.passes / temperature).softmax(-1)
        return probabilities.mean(0), probabilities.std(0)
