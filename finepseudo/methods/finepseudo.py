"""FinePseudo: both encoders vote on each unlabelled clip, both are trained on confident votes (eq. 8, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finepseudo.methods.bars import BarConfig, exceeds
from finepseudo.methods.base import Method, Pool, Votes
from finepseudo.methods.rounds import align_and_train
from finepseudo.methods.voting import by_alignment, scores_of
from shards.settings import BadSetting, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class FinePseudoConfig(BarConfig):
    """Keys of `finepseudo`."""

    tau: float = setting(0.1, "temperature of the non-parametric classifier", source="paper, sec 4.2", above=0)
    theta: float = setting(
        0.6, "confidence threshold, on the scale that `fuse` gives", source="paper, sec 4.2", at_least=0, below=2
    )
    fuse: Literal["mean", "sum"] = setting(
        "mean",
        "mean or sum of p_A and p_E; a sum against theta is the mean against theta / 2",
        source="open in the paper (prints a sum)",
    )

    def check(self) -> None:
        """Refuse a threshold that no mean exceeds, and what the bar would ignore."""
        BarConfig.check(self)
        if self.fuse == "mean" and self.theta >= 1:
            raise BadSetting("theta", self.theta, "must be in [0, 1) with fuse mean; lower it, or set fuse sum")


def vote(cfg: FinePseudoConfig, pool: Pool) -> Votes:
    """Keep what both encoders together are surer of than the bar."""
    p_a = by_alignment(cfg, scores_of(pool))
    votes = Votes((p_a + pool.p_e) / (2 if cfg.fuse == "mean" else 1), pool.usable)
    return Votes(votes.p, pool.usable & exceeds(votes, cfg.theta, pool), p_a)


FINEPSEUDO = Method(
    name="finepseudo",
    title="FinePseudo",
    paper="FinePseudo (ECCV 2024, arXiv 2409.01448)",
    hue="blue",
    config=FinePseudoConfig,
    plan=align_and_train,
    vote=vote,
    by_row=True,
    aligns=True,
    p_a=by_alignment,
    threshold="theta",
)
