"""What an unlabelled clip is taught: targets [N, C] from the teacher's probabilities [N, C]. No gradient in any."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def hard(probabilities: Tensor) -> Tensor:
    """One-hot at the most likely class (FixMatch, SeFAR)."""
    return F.one_hot(probabilities.argmax(dim=1), probabilities.shape[1]).to(probabilities.dtype)


def hard_above(probabilities: Tensor, threshold: float) -> Tensor:
    """SVFormer: one-hot where the highest probability reaches the threshold, the probabilities themselves elsewhere."""
    sure = probabilities.max(dim=1, keepdim=True).values >= threshold
    return torch.where(sure, hard(probabilities), probabilities)


def sharpened(probabilities: Tensor, temperature: float) -> Tensor:
    """UDA: softmax(log p / T), that is, p^(1 / T) normalised; T = 1 leaves them as they are."""
    powers = probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log() / temperature
    return powers.softmax(dim=1)


def negatives(mean: Tensor, std: Tensor, label: Tensor, theta: float, kappa: float) -> Tensor:
    """UPS: classes [N, C] that a clip surely is not: tempered probability below theta, its deviation below kappa.

    Its label [N], the most likely class, is never among them.
    """
    surely_not = (mean < theta) & (std < kappa)
    return surely_not & ~F.one_hot(label, mean.shape[1]).bool()


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -sum_c target log softmax(logits), [N, C] -> [N]."""
    return -(target * logits.log_softmax(dim=1)).sum(dim=1)


def negative_cross_entropy(logits: Tensor, negative: Tensor) -> Tensor:
    """UPS: the mean of -log(1 - p_c) over a clip's negative classes [N, C] bool -> [N]; 0 for clips without one."""
    inverse = (1 - logits.softmax(dim=1)).clamp(min=1e-7).log()
    return -(inverse * negative).sum(dim=1) / negative.sum(dim=1).clamp(min=1)
