"""Pseudo-labels by the confidence of f_E alone, made offline, round after round (FinePseudo's baseline, Table 6)."""

from __future__ import annotations

from dataclasses import dataclass

from finepseudo.methods.bars import BarConfig, exceeds
from finepseudo.methods.base import Method, Pool, Votes
from finepseudo.methods.rounds import label_and_train
from shards.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabelConfig(BarConfig):
    """Keys of `pseudo_label`."""

    theta: float = setting(
        0.6, "confidence of f_E above which a label is kept", source="FinePseudo, sec 4.2", at_least=0, below=1
    )


def vote(cfg: PseudoLabelConfig, pool: Pool) -> Votes:
    """Keep what f_E is surer of than the bar."""
    votes = Votes(pool.p_e, pool.usable)
    return Votes(pool.p_e, pool.usable & exceeds(votes, cfg.theta, pool))


PSEUDO_LABEL = Method(
    name="pseudo_label",
    title="Pseudo-label baseline",
    paper="Lee, ICML workshops 2013; offline rounds as in FinePseudo, Table 6",
    hue="orange",
    config=PseudoLabelConfig,
    plan=label_and_train,
    vote=vote,
    by_row=True,
    threshold="theta",
)
