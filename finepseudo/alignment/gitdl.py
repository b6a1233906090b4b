"""GITDL, the Gaussian instance temporal distinctiveness loss (eq. 9): pre-training of f_A without labels.

A sparse clip of a whole video and a dense clip inside it share some frames. Each shared frame must find itself in the
other clip among the other shared frames; frames far away in time count as negatives more than near ones.
Shapes: B clips, T frames, P projection size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from finepseudo.alignment.config import GitdlConfig
from finepseudo.distributed import widened

_NEVER = -1e9  # logit of a frame that is not shared: exp gives 0 without the NaN of infinity minus infinity


def common_frames(ids_g: Tensor, ids_l: Tensor) -> tuple[Tensor, Tensor]:
    """Find the frames that two clips share: ids_g, ids_l [B, T] -> partner int64 [B, T], shared bool [B, T].

    partner[b, i] is the place in the local clip of the frame at place i of the global clip, valid where shared[b, i].
    A frame that a short video repeats is taken once, at its first places.
    """
    same = ids_g[:, :, None] == ids_l[:, None, :]
    repeated = (ids_g[:, :, None] == ids_g[:, None, :]).tril(-1).any(-1)
    return same.int().argmax(-1), same.any(-1) & ~repeated


def normalised_times(ids: Tensor, shared: Tensor) -> Tensor:
    """Scale frame numbers ids [B, T] so that each clip's shared frames span [0, 1]; others may leave that range."""
    far = torch.iinfo(ids.dtype)
    first = ids.masked_fill(~shared, far.max).amin(-1, keepdim=True)
    last = ids.masked_fill(~shared, far.min).amax(-1, keepdim=True)
    span = torch.where(shared.any(-1, keepdim=True), last - first, torch.ones_like(last)).clamp(min=1)
    return torch.where(shared, ids - first, torch.zeros_like(ids)).float() / span


def gitdl_loss(g: Tensor, l: Tensor, ids_g: Tensor, ids_l: Tensor, cfg: GitdlConfig) -> tuple[Tensor, Tensor, Tensor]:  # noqa: E741
    """Eq. (9) a clip, in both directions: unit vectors g, l [B, T, P] of the frames ids_g, ids_l [B, T].

    Returns the loss [B] (mean over the shared frames and the two directions), the number of shared frames [B] and the
    share [B] of them whose nearest partner is the right one. A clip with fewer than two shared frames has loss 0.
    """
    cosines, shared = _compared(g, l, ids_g, ids_l)
    logits, both = cosines / cfg.tau, shared[:, :, None] & shared[:, None, :]
    log_weight = _log_weights(normalised_times(ids_g, shared), cfg)
    count = shared.sum(-1)
    losses = []
    for scores in (logits, logits.transpose(1, 2)):
        positive = scores.diagonal(dim1=1, dim2=2)
        total = (scores + log_weight).masked_fill(~both, _NEVER).logsumexp(-1)
        losses.append(torch.where(shared, total - positive, torch.zeros_like(positive)).sum(-1) / count.clamp(min=1))
    usable = count > 1
    loss = torch.where(usable, (losses[0] + losses[1]) / 2, torch.zeros_like(losses[0]))
    return loss, count, _found(cosines.detach(), shared)


def retrieval(g: Tensor, l: Tensor, ids_g: Tensor, ids_l: Tensor) -> Tensor:  # noqa: E741
    """Give the share [B] of the shared frames whose nearest partner is the right one; arguments as of `gitdl_loss`."""
    return _found(*_compared(g, l, ids_g, ids_l))


def _compared(g: Tensor, l: Tensor, ids_g: Tensor, ids_l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
    """Compare each frame of g with the partners of all: cosines [B, T, T], and which frames are shared bool [B, T]."""
    partner, shared = common_frames(ids_g, ids_l)
    partners = l.gather(1, partner[..., None].expand(-1, -1, l.shape[-1]))
    return torch.einsum("bip,bjp->bij", widened(g), widened(partners)), shared


def _log_weights(times: Tensor, cfg: GitdlConfig) -> Tensor:
    """Log of W_ij = 1 - mu exp(-(t_i - t_j)^2 / 2 sigma^2) [B, T, T]; W_ii = 1 unless cfg.weight_positive."""
    gap = times[:, :, None] - times[:, None, :]
    weights = 1 - cfg.mu * torch.exp(-gap.square() / (2 * cfg.sigma**2))
    if not cfg.weight_positive:
        own = torch.eye(times.shape[1], dtype=torch.bool, device=times.device)
        weights = weights.masked_fill(own, 1.0)
    return weights.log()


def _found(cosines: Tensor, shared: Tensor) -> Tensor:
    """Of the shared frames, give the share [B] whose largest cosine with a shared frame is their own."""
    nearest = cosines.masked_fill(~shared[:, None, :], _NEVER).argmax(-1)
    right = nearest == torch.arange(shared.shape[-1], device=shared.device)
    return (right & shared).sum(-1) / shared.sum(-1).clamp(min=1)
