"""Contrast without labels: two views of one thing against other things. Shapes: N rows, n parts, P projection size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.distributed import gather_rows

PROJECTED = 128
"""Size behind a projection head (SimCLR, TCLR)."""


def projector(width: int) -> nn.Sequential:
    """Make the head of SimCLR: D - D - 128."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTED))


def nt_xent(one: Tensor, two: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """Return SimCLR's loss of each pair (one_i, two_i) against all others, [.., N, P] twice -> [.., N].

    The mean over both as the anchor. Rows with valid [.., N] False are nobody's negative; their own loss is finite and
    means nothing.
    """
    count, both = one.shape[-2], F.normalize(torch.cat([one, two], dim=-2), dim=-1)
    itself = torch.eye(2 * count, dtype=torch.bool, device=one.device)
    shown = (torch.cat([valid, valid], dim=-1)[..., None, :] | itself.roll(count, 0)) & ~itself
    likely = (both @ both.transpose(-1, -2) / temperature).masked_fill(~shown, float("-inf")).log_softmax(dim=-1)
    there, back = (likely.diagonal(offset, -2, -1) for offset in (count, -count))
    return -(there + back) / 2


def on_all_ranks(x: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Gather rows x [N, ...] of every rank, N up to `slots`: [ranks x slots, ...], and which are there [ranks x slots].

    Gradients go back to the rank that a row came from.
    """
    padded = F.pad(x, (0, 0) * (x.dim() - 1) + (0, slots - len(x)))
    there = torch.arange(slots, device=x.device) < len(x)
    return gather_rows(padded), gather_rows(there.to(x.dtype)) > 0


def mean_of_valid(losses: Tensor, valid: Tensor) -> Tensor:
    """Average losses [.., N] over the rows with valid [N] True and all that stands before; 0 without any."""
    count = valid.sum().clamp(min=1) * losses[..., 0].numel()
    return torch.where(valid, losses, 0).sum() / count


def nt_xent_across_ranks(one: Tensor, two: Tensor, slots: int, temperature: float) -> Tensor:
    """Return SimCLR's mean loss over the clips of all ranks; each has up to `slots` rows [N, P]."""
    both, valid = on_all_ranks(torch.stack([one, two], dim=1), slots)
    return mean_of_valid(nt_xent(both[:, 0], both[:, 1], valid, temperature), valid)


def matched(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """Return the loss of finding for each row its counterpart among those of the other, [B, n, P] twice -> [B]."""
    logits = F.normalize(one, dim=-1) @ F.normalize(two, dim=-1).transpose(1, 2) / temperature
    there, back = (x.log_softmax(dim=-1).diagonal(dim1=1, dim2=2).mean(dim=1) for x in (logits, logits.transpose(1, 2)))
    return -(there + back) / 2
