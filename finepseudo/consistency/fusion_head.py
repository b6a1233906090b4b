"""SeFAR's head: features of several groups of frames of one clip, fused singly and in pairs, to class logits."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FusionHead(nn.Module):
    """Fuses G group features and classifies them.

    Singles LN(GELU(W0 f_i)), pairs i < j LN(GELU(W1 [f_i; f_j])), all pairs and then all singles concatenated ->
    Linear -> GELU -> LN -> dropout -> FC. Three LayerNorms: of pairs, of singles, of the whole.
    """

    def __init__(self, features: int, groups: int, classes: int, width: int = 256, dropout: float = 0.5) -> None:
        """Make the head for G = `groups` features of size D = `features` and C = `classes`."""
        super().__init__()
        self.pairs = list(combinations(range(groups), 2))
        self.single, self.single_norm = nn.Linear(features, width), nn.LayerNorm(width)
        self.pair, self.pair_norm = nn.Linear(2 * features, width), nn.LayerNorm(width)
        self.whole, self.whole_norm = nn.Linear((len(self.pairs) + groups) * width, width), nn.LayerNorm(width)
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [B, C] of group features [B, G, D]."""
        return self.classify(self.fuse(features))

    def fuse(self, features: Tensor) -> Tensor:
        """Return the fused feature [B, width] of group features [B, G, D]: everything before the dropout."""
        parts = [self.single_norm(F.gelu(self.single(features)))]
        if self.pairs:
            both = torch.stack([features[:, pair].flatten(1) for pair in self.pairs], dim=1)
            parts.insert(0, self.pair_norm(F.gelu(self.pair(both))))
        fused: Tensor = self.whole_norm(F.gelu(self.whole(torch.cat(parts, dim=1).flatten(1))))
        return fused

    def classify(self, fused: Tensor) -> Tensor:
        """Return logits [B, C] of fused features [B, width]: what several dropout passes repeat."""
        logits: Tensor = self.classifier(self.dropout(fused))
        return logits
