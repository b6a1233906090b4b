"""CARL's sequence contrast (Chen et al., CVPR 2022), the pre-training that FinePseudo's Table 15 compares GITDL with.

Each frame of one clip is to find the frames of the other clip of the video by a Gaussian of their distance in frames:
near ones are positives too, and all negatives weigh the same. Shapes: B clips, T frames, P projection size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from finepseudo.alignment.config import GitdlConfig
from finepseudo.distributed import widened


def carl_loss(g: Tensor, l: Tensor, ids_g: Tensor, ids_l: Tensor, cfg: GitdlConfig) -> Tensor:  # noqa: E741
    """KL divergence [B] of softmax(cosine / tau) from the Gaussian, the mean over frames of both directions.

    Unit vectors g, l [B, T, P] of the frames ids_g, ids_l [B, T].
    """
    logits = torch.einsum("bip,bjp->bij", widened(g), widened(l)) / cfg.tau
    gap = (ids_g[:, :, None] - ids_l[:, None, :]).to(logits)
    wanted = -gap.square() / (2 * cfg.variance)
    losses = [_divergence(logits, wanted), _divergence(logits.transpose(1, 2), wanted.transpose(1, 2))]
    return torch.stack(losses).mean(0)


def _divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """KL(softmax(wanted) || softmax(logits)) over the last axis, the mean over the one before it: [B]."""
    target = wanted.log_softmax(-1)
    return (target.exp() * (target - logits.log_softmax(-1))).sum(-1).mean(-1)
