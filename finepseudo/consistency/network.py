"""All that consistency needs to know of a network: its features, and its head with dropout, apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from finepseudo.consistency.grouped import GroupedEncoder
from finepseudo.consistency.passes import dropout_passes, dropping
from finepseudo.encoders.action_encoder import ActionEncoder

Network = ActionEncoder | GroupedEncoder
"""What can be a student."""


def classify(network: Network, features: Tensor) -> Tensor:
    """Return logits [B, C] of features [B, D], through the dropout before the last layer."""
    if isinstance(network, GroupedEncoder):
        return network.head.classify(features)
    logits: Tensor = network.fc(network.dropout(features))
    return logits


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and back into the mode it was in."""
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


@torch.no_grad()
def own_labels(network: Network, frames: Tensor) -> Tensor:
    """Return class probabilities [B, C] of frames by a student as it is, in evaluation mode: its own teacher."""
    with at_rest(network):
        return taught(network, frames, 1)[0]


@torch.no_grad()
def taught(network: Network, frames: Tensor, passes: int) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [B, C] of the class probabilities of frames [B, T, C, H, W].

    One pass is that of evaluation; K > 1 run the head K times with its dropout on, over features computed once.
    """
    features = network.features(frames)
    if passes == 1:
        return dropout_passes(features, lambda x: classify(network, x), 1)
    with dropping(network):
        return dropout_passes(features, lambda x: classify(network, x), passes)
