"""Mixing of two clips, as pixels: tubes of tokens (SVFormer, SeFAR), or the actor of one on the other (ActorCutMix).

Mixing 16 x 16 blocks of pixels equals mixing the embeddings of patches, so every network can be fed with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from finepseudo.compute.networks import sent

PATCH = 16
"""Side of a block, pixels: that of a ViT's patch."""


def partners(valid: Tensor) -> Tensor:
    """Return the clip that each of [B] is mixed with, int64 [B]: its neighbour in the batch, whose order is random.

    Neighbours (0, 1), (2, 3), .. stay together however many ranks share the batch. A clip without a usable neighbour is
    its own partner.
    """
    place = torch.arange(len(valid), device=valid.device)
    other = (place ^ 1).clamp(max=len(valid) - 1)
    return torch.where(valid & valid[other], other, place)


def partner_rows(valid: Tensor) -> list[int]:
    """Give the partner of each valid clip as a place among the valid ones; valid [B] lies on the host."""
    place = {row: number for number, row in enumerate(torch.nonzero(valid)[:, 0].tolist())}
    return [place[int(other)] for row, other in enumerate(partners(valid).tolist()) if row in place]


def token_mask(height: int, width: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw which pixels stay a clip's own, bool [H, W]: int(share x tokens) of the PATCH x PATCH blocks.

    One mask serves every frame of a group and every clip of a batch. Blocks at the right and lower edge are cut where
    a side is no multiple of PATCH.
    """
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    own = torch.zeros(rows * columns, dtype=torch.bool)
    own[torch.randperm(rows * columns, generator=generator)[: int(share * rows * columns)]] = True
    pixels = own.view(rows, columns).repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)
    return pixels[:height, :width]


def mix(own: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Take pixels of `own` [..., H, W] where the mask [..., H, W] holds and of `other` elsewhere."""
    return torch.where(sent(mask, own.device), own, other)


def box_mask(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return where the pixels of boxes lie, bool [B, T, 1, H, W].

    boxes [B, T, K, 4]: left, top, right, bottom in pixels, right and bottom outside; a box of zeros marks none.
    """
    x, y = (torch.arange(n, device=boxes.device, dtype=boxes.dtype) for n in (width, height))
    left, top, right, bottom = boxes[..., None].unbind(dim=-2)
    across = (x >= left) & (x < right)
    down = (y >= top) & (y < bottom)
    return (down[..., :, None] & across[..., None, :]).any(dim=2)[:, :, None]


def actor_weight(mask: Tensor) -> Tensor:
    """ActorCutMix: weight [B] of the actor's label, 1 - (1 - r)^4, r the share of pixels that are its boxes."""
    share = mask.flatten(1).float().mean(dim=1)
    return 1 - (1 - share) ** 4
