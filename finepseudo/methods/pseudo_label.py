"""Pseudo-labels by the confidence of f_E alone, made offline, round after round (FinePseudo's baseline, Table 6)."""

from __future__ import annotations

from dataclasses import dataclass

from finepseudo.methods.base import Method, MethodConfig, Pool, Votes
from finepseudo.methods.rounds import label_and_train
from finepseudo.methods.voting import check_share


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabelConfig(MethodConfig):
    """Keys of `pseudo_label`."""

    # FinePseudo, sec 4.2: confidence above which a label is kept
    theta: float = 0.6

    def __post_init__(self) -> None:
        """Refuse a threshold outside its range."""
        check_share("theta", self.theta)


def vote(cfg: PseudoLabelConfig, pool: Pool) -> Votes:
    """Keep what f_E is surer of than theta."""
    votes = Votes(pool.p_e, pool.usable)
    return Votes(pool.p_e, pool.usable & (votes.confidence > cfg.theta))


PSEUDO_LABEL = Method(
    name="pseudo_label",
    title="Pseudo-label baseline",
    paper="Lee, ICML workshops 2013; offline rounds as in FinePseudo, Table 6",
    hue="orange",
    config=PseudoLabelConfig,
    plan=label_and_train,
    vote=vote,
    threshold="theta",
)
