"""Pooling whose gradient is deterministic on every device; that of torch's adaptive pools is not, on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor


def bin_means(x: Tensor, bins: int, dim: int) -> Tensor:
    """Average one dimension of x over `bins` ranges, those of torch's adaptive average pooling: [..N..] to [..bins..].

    Range i of N values is floor(i N / bins) to ceil((i + 1) N / bins), so with N < bins some values count twice.
    """
    n = x.shape[dim]
    ranges = [(i * n // bins, -(-(i + 1) * n // bins)) for i in range(bins)]
    return torch.stack([x.narrow(dim, first, last - first).mean(dim) for first, last in ranges], dim)


def mean_over_places(maps: Tensor) -> Tensor:
    """Average maps [B, C, T, H, W] of a convolution over places: [B, T, C]."""
    return maps.mean((3, 4)).transpose(1, 2)
