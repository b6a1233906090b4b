"""A mean teacher: the exponential moving average of a student, over optimiser steps."""

from __future__ import annotations

import copy

import torch
from torch import nn

from finepseudo.distributed import gathered


def momentum_of(half_life: float) -> float:
    """Return the momentum with which a weight's share halves in `half_life` optimiser steps.

    >>> round(momentum_of(69.0), 4)
    0.99
    """
    if half_life <= 0:
        raise ValueError(f"half_life {half_life} must be positive, in optimiser steps")
    return float(2 ** (-1 / half_life))


class MeanTeacher(nn.Module):
    """Holds the averaged copy of a student; part of the objective, so that every checkpoint carries it."""

    model: nn.Module

    def __init__(self, student: nn.Module) -> None:
        """Start as a copy of the student, without gradients."""
        super().__init__()
        self.model = copy.deepcopy(student).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> MeanTeacher:
        """Stay in evaluation mode: what the teacher drops or normalises does not depend on the batch."""
        super().train(mode)
        self.model.eval()
        return self

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
