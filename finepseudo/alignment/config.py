"""Settings of the alignment losses: pre-training (eq. 9), metric learning (eq. 2, 5) and f_S (eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shards.settings import BadSetting, Settings, setting

Mining = Literal["all", "hard", "hardest"]
Norm = Literal["none", "T", "2T"]
Distance = Literal["soft_dtw", "otam", "framewise_cosine", "pooled_cosine"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GitdlConfig(Settings):
    """Constants of eq. (9), and of what it is compared with."""

    objective: Literal["gitdl", "carl"] = setting(
        "gitdl",
        "what f_A is pre-trained by: GITDL, or CARL's sequence contrast on the same two clips, which reads tau and "
        "variance alone",
        source="paper, eq. (9); Table 15: CARL",
    )
    variance: float = setting(
        10.0, "carl: variance of the Gaussian of its positives, in frames squared", source="CARL: 10", above=0
    )
    tau: float = setting(0.1, "temperature", source="paper, sec 4.2", above=0)
    mu: float = setting(
        0.99,
        "peak of the Gaussian; 0 gives the row 'w/o gaussian' of Table 9, at 1 the weight of the frame itself vanishes",
        source="paper, sec 4.2",
        at_least=0,
        below=1,
    )
    sigma: float = setting(
        0.2,
        "standard deviation of the Gaussian, in units of the common window",
        source="paper, sec 4.2 (another line says variance)",
        above=0,
    )
    weight_positive: bool = setting(
        False,
        "whether the positive in the denominator is weighted too (then the loss can go negative)",
        source="open in the paper",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerConfig(Settings):
    """f_S: a two-layer perceptron on the distance of two clips."""

    hidden: int = setting(
        16, "hidden units, an even number: they come in pairs", source="open in the paper ('2-layer MLP')", at_least=2
    )
    norm: Norm = setting(
        "T",
        "what the distance is divided by before f_S; D/T keeps the sigmoid off its flat ends at any clip length",
        source="open in the paper",
    )
    momentum: float = setting(
        0.1,
        "weight of a new batch in the running mean and spread by which distances are standardised",
        source="this project",
        above=0,
        at_most=1,
    )

    def check(self) -> None:
        """Refuse sizes that make no perceptron."""
        if self.hidden % 2:
            raise BadSetting("hidden", self.hidden, f"must be even, units come in pairs; take {self.hidden + 1}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignabilityConfig(Settings):
    """Constants of L_AV = L_AT + omega L_Score."""

    margin: float = setting(
        0.1,
        "margin m of the triplet loss, on the distance scale that `norm` names",
        source="paper, sec 4.2",
        at_least=0,
    )
    omega: float = setting(1.0, "weight of L_Score", source="open in the paper (only named)", at_least=0)
    gamma: float = setting(0.001, "smoothness of soft-DTW", source="paper, sec 4.2", above=0)
    distance: Distance = setting(
        "soft_dtw",
        "distance of two clips, in training and wherever they are scored: soft-DTW; OTAM, with open ends; 1 - cosine, "
        "frame by frame or of the mean over time",
        source="paper, eq. (1); the others: Table 8",
    )
    mining: Mining = setting("hard", "which negatives are mined", source="paper, App. C.1 and Table 7")
    norm: Norm = setting(
        "none",
        "what the distance of the triplet loss is divided by: nothing, the length T or 2T",
        source="paper, eq. (2): the plain sum, no length normalisation is written",
    )
    triplet_weight: float = setting(
        1.0, "weight of the triplet loss; 0 leaves L_Score alone", source="paper, Table 5", at_least=0
    )

    def check(self) -> None:
        """Refuse a loss of nothing."""
        if self.omega + self.triplet_weight == 0:
            raise BadSetting("omega", self.omega, "must be above 0 where triplet_weight is 0; set one of them")
