"""How alike the parts of one video look to a network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def self_similarity(features: Tensor) -> Tensor:
    """Return the mean cosine over pairs of different parts of a clip, [B, P, D] -> [B], clamped to [0, 1].

    TimeBalance's weight s of its temporally-invariant teacher, as its description goes; the script that made s was
    never published. 1 where there is one part.

    >>> self_similarity(torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]]))
    tensor([0.3333])
    """
    count = features.shape[1]
    if count < 2:
        return features.new_ones(len(features))
    unit = F.normalize(features, dim=-1)
    cosines = unit @ unit.transpose(1, 2)
    pairs = torch.triu(torch.ones(count, count, dtype=torch.bool, device=features.device), diagonal=1)
    mean: Tensor = cosines[:, pairs].mean(dim=1)
    return mean.clamp(0, 1)
