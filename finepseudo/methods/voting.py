"""Parts of votes that several methods share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from finepseudo.methods.base import Floats, Pool


class HasTau(Protocol):
    """Keys of a method that aligns."""

    @property
    def tau(self) -> float:
        """Temperature of p_A."""
        ...


def class_probabilities(scores: Floats, tau: float) -> Floats:
    """Eq. (8) of FinePseudo: p_A = softmax(S / tau) over the classes; scores [N, C] -> [N, C]."""
    import numpy as np

    shifted = (scores - scores.max(axis=1, keepdims=True, initial=-np.inf)) / tau
    powers = np.exp(shifted)
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def by_alignment(cfg: HasTau, scores: Floats) -> Floats:
    """Give p_A at the temperature of the method's keys."""
    return class_probabilities(scores, cfg.tau)


def scores_of(pool: Pool) -> Floats:
    """Give the class scores of a pool whose method asked for them."""
    if pool.score is None:
        raise ValueError("this vote needs class-wise alignability; its Label request must say scores=True")
    return pool.score
