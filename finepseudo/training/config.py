"""Settings of the optimiser and of the cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """Adam and its schedule within one stage."""

    # open in the paper (stripped): 1e-4 as CARL, TCC, TimeBalance and SEVERE; sweep 3e-5 .. 1e-3
    lr: float = 1e-4
    # open in the paper: CARL's
    weight_decay: float = 1e-5
    # open in the paper: CARL's bound on the gradient norm
    clip_norm: float = 10.0
    # paper, sec 4.2: linear warm-up, in epochs of the stage
    warmup_epochs: float = 5.0
    # open in the paper: f_S, a handful of weights behind a standardised input, learns this much faster
    scorer_lr_factor: float = 5.0
    # open in the paper: self-training rounds run at this fraction of lr
    self_training_factor: float = 0.1

    def __post_init__(self) -> None:
        """Refuse constants outside their range."""
        for name in ("lr", "clip_norm", "scorer_lr_factor", "self_training_factor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)} must be positive")
        if self.weight_decay < 0 or self.warmup_epochs < 0:
            raise ValueError(
                f"weight_decay {self.weight_decay}, warmup_epochs {self.warmup_epochs} must not be negative"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossEntropyConfig:
    """Constants of eq. (6)."""

    # paper, eq. (6): none
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a share outside its range."""
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing {self.label_smoothing} must lie in [0, 1)")
