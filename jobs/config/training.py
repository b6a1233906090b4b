"""How long one stage is trained and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from finepseudo.training.optim import OptimConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How long one stage is trained and how. Exactly one of `steps` and `epochs`."""

    # optimiser steps; self-training needs them so that every method gets the same number
    steps: int | None = None
    # passes over the training clips; paper, sec 4.2: 100 for pre-training and for the labelled stage
    epochs: int | None = None
    # Adam and its schedule
    optim: OptimConfig = field(default_factory=OptimConfig)
    # steps between checkpoints
    checkpoint_every: int = 100
    # steps between lines of the log
    log_every: int = 10

    def __post_init__(self) -> None:
        """Refuse a length that is missing, double or not positive."""
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"steps {self.steps} and epochs {self.epochs}: set exactly one of them, the other to null")
        for name in ("steps", "epochs", "checkpoint_every", "log_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value} must be at least 1")
