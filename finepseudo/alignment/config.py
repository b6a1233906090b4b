"""Settings of the alignment losses: pre-training (eq. 9), metric learning (eq. 2, 5) and f_S (eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class GitdlConfig:
    """Constants of eq. (9)."""

    # paper, sec 4.2
    tau: float = 0.1
    # paper, sec 4.2: peak of the Gaussian; 0 gives the row "w/o gaussian" of Table 9
    mu: float = 0.99
    # paper, sec 4.2, as standard deviation (another line says variance); in units of the common window
    sigma: float = 0.2
    # open in the paper: whether the positive in the denominator is weighted too (then the loss can go negative)
    weight_positive: bool = False

    def __post_init__(self) -> None:
        """Refuse constants outside their range."""
        if self.tau <= 0 or self.sigma <= 0:
            raise ValueError(f"tau {self.tau} and sigma {self.sigma} must be positive")
        if not 0 <= self.mu < 1:
            raise ValueError(f"mu {self.mu} must lie in [0, 1): at 1 the weight of the frame itself vanishes")


Mining = Literal["all", "hard", "hardest"]


Norm = Literal["none", "T", "2T"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerConfig:
    """f_S: a two-layer perceptron on the distance of two clips."""

    # open in the paper ("2-layer MLP"): hidden units
    hidden: int = 16
    # open in the paper: what f_S is fed; D/T keeps the sigmoid off its flat ends at any clip length
    norm: Norm = "T"
    # weight of a new batch in the running mean and spread by which distances are standardised
    momentum: float = 0.1

    def __post_init__(self) -> None:
        """Refuse sizes that make no perceptron."""
        if self.hidden < 2 or self.hidden % 2:
            raise ValueError(f"hidden {self.hidden} must be even and at least 2: units come in pairs")
        if not 0 < self.momentum <= 1:
            raise ValueError(f"momentum {self.momentum} must lie in (0, 1]")


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignabilityConfig:
    """Constants of L_AV = L_AT + omega L_Score."""

    # paper, sec 4.2: margin m of the triplet loss, on the distance scale that `norm` names
    margin: float = 0.1
    # open in the paper (only named): 1
    omega: float = 1.0
    # paper, sec 4.2: smoothness of soft-DTW
    gamma: float = 0.001
    # paper, App. C.1 and Table 7: negatives
    mining: Mining = "hard"
    # paper: the plain sum D in eq. (2), no length normalisation is written; T or 2T divide it
    norm: Norm = "none"
    # Table 5: weight of the triplet loss, 0 leaves L_Score alone
    triplet_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse constants outside their range."""
        if self.margin < 0 or self.gamma <= 0:
            raise ValueError(f"margin {self.margin} must not be negative and gamma {self.gamma} must be positive")
        if self.omega < 0 or self.triplet_weight < 0 or self.omega + self.triplet_weight == 0:
            raise ValueError(
                f"omega {self.omega}, triplet_weight {self.triplet_weight} must not be negative nor both be 0"
            )
