"""All pairs of a global batch, each computed by one rank: the shares are exchanged, gradients go back to their makers.

A rank's share is its own block of clips against itself and the blocks of the next world // 2 ranks, in a ring; with an
even number of ranks, opposite ones both compute their block. Every rank then holds the whole D, each pair once.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from finepseudo.alignment.config import AlignabilityConfig
from finepseudo.alignment.distances import pair_distances
from finepseudo.distributed import gather_rows, rank, world_size
from finepseudo.soft_dtw import soft_dtw_pairwise


def global_distances(u: Tensor, cfg: AlignabilityConfig) -> Tensor:
    """Compute D [B, B] of the clips u [B, T, F] of all ranks (equally many, in rank order), with gradients.

    Soft-DTW is shared out; other distances, which cost little or are not symmetric, every rank computes whole.
    """
    world = world_size()
    if world == 1 or cfg.distance != "soft_dtw":
        return pair_distances(u, cfg)
    rows = gather_rows(share(u, rank(), world, cfg.gamma))
    return rows.flatten()[places(world, len(u) // world, rows.device)]


def share(u: Tensor, rank: int, world: int, gamma: float) -> Tensor:
    """Compute D [B / world, (world // 2 + 1) B / world] of a rank's clips and those of it and of the ranks after it."""
    blocks = u.chunk(world)
    following = torch.cat([blocks[(rank + step) % world] for step in range(1, world // 2 + 1)])
    own = soft_dtw_pairwise(blocks[rank], gamma=gamma)
    return torch.cat([own, soft_dtw_pairwise(blocks[rank], following, gamma=gamma)], dim=1)


@cache
def places(world: int, size: int, device: torch.device) -> Tensor:
    """Tell where D [B, B] of world * size clips lies in the shares, rank after rank, int64 [B, B]; symmetric.

    Made once, on the device: it does not cross to it at each step.
    """
    clip = torch.arange(world * size, device=device)
    block = clip // size
    ahead = (block[None, :] - block[:, None]) % world
    straight = clip[:, None] * ((world // 2 + 1) * size) + ahead * size + clip[None, :] % size
    forward = (2 * ahead < world) & ((ahead > 0) | (clip[:, None] <= clip[None, :]))
    forward |= (2 * ahead == world) & (clip[:, None] < clip[None, :])
    return torch.where(forward, straight, straight.T)
