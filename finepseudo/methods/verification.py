"""Pseudo-labels of f_E that alignment verifies: the row `verification` of FinePseudo's Table 6."""

from __future__ import annotations

from dataclasses import dataclass

from finepseudo.methods.bars import BarConfig, exceeds
from finepseudo.methods.base import Method, Pool, Votes
from finepseudo.methods.rounds import align_and_train
from finepseudo.methods.voting import by_alignment, scores_of
from shards.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class VerificationConfig(BarConfig):
    """Keys of `verification`."""

    theta: float = setting(
        0.6,
        "confidence of f_E above which a label is looked at",
        source="FinePseudo, sec 4.2",
        at_least=0,
        below=1,
    )
    score_theta: float = setting(
        0.6,
        "mean score S of the predicted class above which it is kept",
        source="FinePseudo, Table 6",
        at_least=0,
        at_most=1,
    )
    tau: float = setting(
        0.1, "temperature of p_A, which is recorded and does not vote", source="FinePseudo, sec 4.2", above=0
    )


def vote(cfg: VerificationConfig, pool: Pool) -> Votes:
    """Keep what f_E is sure of and what aligns with its class."""
    import numpy as np

    score = scores_of(pool)
    votes = Votes(pool.p_e, pool.usable)
    verified = score[np.arange(len(score)), pool.p_e.argmax(axis=1)] > cfg.score_theta
    accepted = pool.usable & exceeds(votes, cfg.theta, pool) & verified
    return Votes(pool.p_e, accepted, by_alignment(cfg, score))


VERIFICATION = Method(
    name="verification",
    title="Alignability verification",
    paper="FinePseudo (ECCV 2024), Table 6",
    hue="green",
    config=VerificationConfig,
    plan=align_and_train,
    vote=vote,
    by_row=True,
    aligns=True,
    p_a=by_alignment,
    threshold="theta",
)
