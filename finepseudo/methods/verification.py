"""Pseudo-labels of f_E that alignment verifies: the row `verification` of FinePseudo's Table 6."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finepseudo.methods.base import Method, MethodConfig, Pool, Votes
from finepseudo.methods.rounds import align_and_train
from finepseudo.methods.voting import check_share, class_probabilities, scores_of


@dataclass(frozen=True, kw_only=True, slots=True)
class VerificationConfig(MethodConfig):
    """Keys of `verification`."""

    # FinePseudo, sec 4.2: confidence of f_E above which a label is looked at
    theta: float = 0.6
    # FinePseudo, Table 6: mean score S of the predicted class above which it is kept
    score_theta: float = 0.6
    # FinePseudo, sec 4.2: temperature of p_A, which is recorded and does not vote
    tau: float = 0.1

    def __post_init__(self) -> None:
        """Refuse constants outside their range."""
        check_share("theta", self.theta)
        if not 0 <= self.score_theta <= 1:
            raise ValueError(f"score_theta {self.score_theta} must lie in [0, 1]")
        if self.tau <= 0:
            raise ValueError(f"tau {self.tau} must be positive")


def vote(cfg: VerificationConfig, pool: Pool) -> Votes:
    """Keep what f_E is sure of and what aligns with its class."""
    score = scores_of(pool)
    votes = Votes(pool.p_e, pool.usable)
    verified = score[np.arange(len(score)), pool.p_e.argmax(axis=1)] > cfg.score_theta
    accepted = pool.usable & (votes.confidence > cfg.theta) & verified
    return Votes(pool.p_e, accepted, class_probabilities(score, cfg.tau))


VERIFICATION = Method(
    name="verification",
    title="Alignability verification",
    paper="FinePseudo (ECCV 2024), Table 6",
    hue="green",
    config=VerificationConfig,
    plan=align_and_train,
    vote=vote,
    aligns=True,
    threshold="theta",
)
