"""Distances of clips in place of soft-DTW (FinePseudo, Table 8), and what is computed whatever the distance.

Shapes: u [U, T, F] and v [V, S, F] frame embeddings, D [U, V]. Every distance is a sum over frames, as soft-DTW is, so
that margin and norms mean the same for all; frame-wise ones need clips of equal length.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from finepseudo.alignment.config import AlignabilityConfig, Distance
from finepseudo.soft_dtw import AlignmentBank, class_alignability, soft_dtw_cdist, soft_dtw_pairwise

SMOOTH = 0.1
"""Of OTAM's soft minimum (Cao et al., CVPR 2020)."""
PAIRS_AT_ONCE = 16_384
"""So many pairs of 32 frames take some 64 MB a table."""
Pairwise = Callable[[Tensor, Tensor], Tensor]


def pooled_cosine(u: Tensor, v: Tensor) -> Tensor:
    """T times 1 - cosine of the mean embeddings: time is lost."""
    a, b = (F.normalize(F.normalize(x, dim=-1).mean(1), dim=-1) for x in (u, v))
    return u.shape[1] * (1 - a @ b.T)


def framewise_cosine(u: Tensor, v: Tensor) -> Tensor:
    """Sum over t of 1 - cosine of u_t and v_t: phases that take longer in one clip are compared with others."""
    a, b = (F.normalize(x, dim=-1) for x in (u, v))
    return u.shape[1] - torch.einsum("utf,vtf->uv", a, b)


def otam(u: Tensor, v: Tensor) -> Tensor:
    """Ordered temporal alignment with open ends (Cao et al., CVPR 2020): the mean of both directions."""
    a, b = (F.normalize(x, dim=-1) for x in (u, v))
    cost = 1 - torch.einsum("utf,vsf->uvts", a, b).flatten(0, 1)
    return ((open_ended(cost) + open_ended(cost.transpose(1, 2))) / 2).view(len(u), len(v))


def open_ended(cost: Tensor) -> Tensor:
    """Soft-minimal cost [P] of paths through cost [P, T, S] with a column of zeros before and after it.

    A path goes through every column. It comes from (i-1, j-1) or (i, j-1), next to the columns of zeros also from
    (i-1, j); rows passed in these cost nothing, so the second clip may lie anywhere inside the first.
    """
    before = cost.new_zeros(cost.shape[:2])  # the column of zeros: no cost as far as any row
    columns = [*cost.unbind(2), torch.zeros_like(before)]
    for place, column in enumerate(columns):
        first, above = column[:, :1] + before[:, :1], before[:, :-1]
        if place in (0, len(columns) - 1):
            rows = [first[:, 0]]
            for i in range(1, column.shape[1]):
                rows.append(column[:, i] + _soft_min(before[:, i - 1], rows[-1], before[:, i]))
            before = torch.stack(rows, dim=1)
        else:
            before = torch.cat([first, column[:, 1:] + _soft_min(above, before[:, 1:])], dim=1)
    return before[:, -1]


def _soft_min(*values: Tensor) -> Tensor:
    return -SMOOTH * torch.logsumexp(torch.stack([-value / SMOOTH for value in values]), dim=0)


OTHERS: dict[Distance, Pairwise] = {
    "pooled_cosine": pooled_cosine,
    "framewise_cosine": framewise_cosine,
    "otam": otam,
}
"""Distances beside soft-DTW, which has an engine of its own."""


def pair_distances(u: Tensor, cfg: AlignabilityConfig) -> Tensor:
    """Compute D [U, U] of all pairs, with gradients."""
    if cfg.distance == "soft_dtw":
        return soft_dtw_pairwise(u, gamma=cfg.gamma)
    return OTHERS[cfg.distance](u, u)


def cross_distances(u: Tensor, bank: AlignmentBank, cfg: AlignabilityConfig) -> Tensor:
    """Compute D [U, V] of clips and a gallery, a few clips at a time."""
    if cfg.distance == "soft_dtw":
        return soft_dtw_cdist(u, bank, cfg.gamma)
    measured, gallery = OTHERS[cfg.distance], bank.unit.to(u.dtype)
    return torch.cat([measured(some, gallery) for some in torch.split(u, max(1, PAIRS_AT_ONCE // len(bank)))])


@torch.no_grad()
def class_scores(u: Tensor, bank: AlignmentBank, scorer: Callable[[Tensor], Tensor], cfg: AlignabilityConfig) -> Tensor:
    """Compute the mean score of each class (eq. 7), float32 [U, C]; see `class_alignability`."""
    if cfg.distance == "soft_dtw":
        return class_alignability(u, bank, scorer, cfg.gamma)
    members, present = bank.members
    counts = present.sum(1).clamp(min=1)
    parts = torch.split(u, max(1, PAIRS_AT_ONCE // len(bank)))
    scores = [scorer(cross_distances(part, bank, cfg))[:, members] for part in parts]
    return torch.cat([torch.where(present, score, 0.0).sum(-1) / counts for score in scores]).float()
