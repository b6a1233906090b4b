"""FinePseudo: both encoders vote on each unlabelled clip, both are trained on confident votes (eq. 8, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finepseudo.methods.base import Method, MethodConfig, Pool, Votes
from finepseudo.methods.rounds import align_and_train
from finepseudo.methods.voting import check_share, class_probabilities, scores_of


@dataclass(frozen=True, kw_only=True, slots=True)
class FinePseudoConfig(MethodConfig):
    """Keys of `finepseudo`."""

    # paper, sec 4.2: temperature of the non-parametric classifier
    tau: float = 0.1
    # paper, sec 4.2: confidence threshold, on the scale that `fuse` gives
    theta: float = 0.6
    # open in the paper (prints a sum): mean of p_A and p_E; a sum against theta is the mean against theta / 2
    fuse: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        """Refuse constants outside their range."""
        if self.tau <= 0:
            raise ValueError(f"tau {self.tau} must be positive")
        check_share(f"fuse {self.fuse}: theta", self.theta, 2.0 if self.fuse == "sum" else 1.0)


def vote(cfg: FinePseudoConfig, pool: Pool) -> Votes:
    """Keep what both encoders together are surer of than theta."""
    p_a = class_probabilities(scores_of(pool), cfg.tau)
    votes = Votes((p_a + pool.p_e) / (2 if cfg.fuse == "mean" else 1), pool.usable)
    return Votes(votes.p, pool.usable & (votes.confidence > cfg.theta), p_a)


FINEPSEUDO = Method(
    name="finepseudo",
    title="FinePseudo",
    paper="FinePseudo (ECCV 2024, arXiv 2409.01448)",
    hue="blue",
    config=FinePseudoConfig,
    plan=align_and_train,
    vote=vote,
    aligns=True,
    threshold="theta",
)
