"""Teachers: a network that stays as it is, and the exponential moving average of a student over optimiser steps."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from finepseudo.distributed import gathered, widened
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.training.checkpoint import load_weights


def momentum_of(half_life: float) -> float:
    """Return the momentum with which a weight's share halves in `half_life` optimiser steps.

    >>> round(momentum_of(69.0), 4)
    0.99
    """
    if half_life <= 0:
        raise ValueError(f"half_life {half_life} must be positive, in optimiser steps")
    return float(2 ** (-1 / half_life))


def trained_as(encoder: ActionEncoder, weights: Path) -> ActionEncoder:
    """Make another f_E of the same kind with the weights that an earlier training left."""
    other = copy.deepcopy(encoder)
    other.load_state_dict(load_weights(weights, "encoder."))
    return other


class Frozen(nn.Module):
    """Holds a network that is asked and not trained."""

    model: nn.Module

    def __init__(self, model: nn.Module) -> None:
        """Take the network; it loses its gradients."""
        super().__init__()
        self.model = model.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: what a teacher drops or normalises does not depend on the batch."""
        super().train(mode)
        self.model.eval()
        return self

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Return class probabilities [B, C] of frames [B, T, C, H, W]."""
        return widened(self.model(frames)).softmax(dim=1)


class MeanTeacher(Frozen):
    """Holds the averaged copy of a student; part of the objective, so that every checkpoint carries it."""

    def __init__(self, student: nn.Module) -> None:
        """Start as a copy of the student, without gradients."""
        super().__init__(copy.deepcopy(student))

    @torch.no_grad()
    def follow(self, student: nn.Module, momentum: float) -> None:
        """Move every weight and running statistic towards the student's, once after each optimiser step.

        momentum 0 copies. What is not a floating-point number (counters) is copied.
        """
        theirs = gathered(student.state_dict())
        pairs = [(own, theirs[name]) for name, own in self.model.state_dict().items()]
        for own, new in pairs:
            if not own.is_floating_point():
                own.copy_(new)
        averaged = [(own, new) for own, new in pairs if own.is_floating_point()]
        torch._foreach_lerp_([own for own, _ in averaged], [new for _, new in averaged], 1 - momentum)
