"""Settings of the rules that turn scores into pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["confidence", "uncertainty", "verification", "collaborative"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabelConfig:
    """Rule that turns scores into pseudo-labels."""

    # paper, Table 6: its four rows; collaborative is FinePseudo
    strategy: Strategy = "collaborative"
    # paper, sec 4.2: temperature of the non-parametric classifier
    tau: float = 0.1
    # paper, sec 4.2: confidence threshold, on the scale that `fuse` gives two votes; a single vote (confidence,
    # verification) is held to the same mean, theta / 2 with fuse sum
    theta: float = 0.6
    # open in the paper (prints a sum): mean of p_A and p_E; a sum against theta is the mean against theta / 2
    fuse: Literal["mean", "sum"] = "mean"
    # paper, Table 6: mean score of the predicted class above which `verification` keeps a label
    verification_theta: float = 0.6
    # UPS (Rizve et al., ICLR 2021): least confidence of `uncertainty`
    uncertainty_theta: float = 0.7
    # UPS: largest standard deviation of `uncertainty`
    uncertainty_kappa: float = 0.05

    def __post_init__(self) -> None:
        """Refuse constants outside their range."""
        if self.tau <= 0:
            raise ValueError(f"tau {self.tau} must be positive")
        top = 2.0 if self.fuse == "sum" else 1.0
        if not 0 <= self.theta < top:
            raise ValueError(f"theta {self.theta} must lie in [0, {top:g}) with fuse {self.fuse}")
        for name in ("verification_theta", "uncertainty_theta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1]")
        if self.uncertainty_kappa <= 0:
            raise ValueError(f"uncertainty_kappa {self.uncertainty_kappa} must be positive")

    @property
    def bar(self) -> float:
        """What the confidence of `strategy` has to exceed."""
        return self.theta / 2 if self.fuse == "sum" and self.strategy != "collaborative" else self.theta
