"""An objective that knows how many optimiser steps are behind it."""

from __future__ import annotations

import torch
from torch import Tensor

from finepseudo.training.objectives import Objective


class Stepped(Objective):
    """Counts steps, through every checkpoint: what a step draws for all ranks alike comes from `seed` and `done`."""

    def __init__(self, seed: int) -> None:
        """Begin at step 0."""
        super().__init__()
        self.seed, self.done = seed, 0

    def get_extra_state(self) -> Tensor:
        """Save how many steps are done, on the host: asking a buffer on a GPU would wait for it."""
        return torch.tensor(self.done)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on behind the steps that were done."""
        self.done = int(state)

    def after_step(self, step: int, total: int) -> None:
        """Count."""
        del total
        self.done = step
