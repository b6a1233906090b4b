"""Several passes of a head with dropout over features that were computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from finepseudo.distributed import widened


@contextmanager
def dropping(head: nn.Module) -> Iterator[None]:
    """Switch the dropout layers of a head on, and back to what they were."""
    layers = [(layer, layer.training) for layer in head.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    for layer, _ in layers:
        layer.train()
    try:
        yield
    finally:
        for layer, before in layers:
            layer.train(before)


@torch.no_grad()
def dropout_passes(features: Tensor, head: Callable[[Tensor], Tensor], passes: int) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased standard deviation [N, C] of softmax(head(features)) over passes, widened.

    The backbone's dropout rates are 0, so K passes of the head alone are distributed as K full passes (SeFAR, UPS) at
    about 1 / K of their cost. They are computed at once, as one batch of K x N. With one pass the deviation is 0.
    """
    if passes < 1:
        raise ValueError(f"passes {passes} must be at least 1")
    logits = head(features.repeat(passes, *(1 for _ in features.shape[1:])))
    probabilities = widened(logits).softmax(dim=1).view(passes, len(features), logits.shape[1])
    spread = probabilities.std(dim=0) if passes > 1 else torch.zeros_like(probabilities[0])
    return probabilities.mean(dim=0), spread
