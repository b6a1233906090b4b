"""Settings of the rules that turn scores into pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shards.settings import BadSetting, Settings, setting

Strategy = Literal["confidence", "uncertainty", "verification", "collaborative"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabelConfig(Settings):
    """Rule that turns scores into pseudo-labels."""

    strategy: Strategy = setting(
        "collaborative",
        "the rule; in a run it is set by `strategies`; collaborative is FinePseudo",
        source="paper, Table 6: its four rows",
    )
    tau: float = setting(0.1, "temperature of the non-parametric classifier", source="paper, sec 4.2", above=0)
    theta: float = setting(
        0.6,
        "confidence threshold, on the scale that `fuse` gives two votes; a single vote (confidence, verification) is "
        "held to the same mean, theta / 2 with fuse sum",
        source="paper, sec 4.2",
        at_least=0,
        below=2,
    )
    fuse: Literal["mean", "sum"] = setting(
        "mean",
        "mean or sum of p_A and p_E; a sum against theta is the mean against theta / 2",
        source="open in the paper (prints a sum)",
    )
    verification_theta: float = setting(
        0.6,
        "mean score of the predicted class above which `verification` keeps a label",
        source="paper, Table 6",
        at_least=0,
        at_most=1,
    )
    uncertainty_theta: float = setting(
        0.7,
        "least confidence of `uncertainty`",
        source="UPS (Rizve et al., ICLR 2021)",
        at_least=0,
        at_most=1,
    )
    uncertainty_kappa: float = setting(0.05, "largest standard deviation of `uncertainty`", source="UPS", above=0)

    def check(self) -> None:
        """Refuse a threshold that no mean exceeds."""
        if self.fuse == "mean" and self.theta >= 1:
            raise BadSetting("theta", self.theta, "must be in [0, 1) with fuse mean; lower it, or set fuse sum")

    @property
    def bar(self) -> float:
        """What the confidence of `strategy` has to exceed."""
        return self.theta / 2 if self.fuse == "sum" and self.strategy != "collaborative" else self.theta
