"""Pseudo-labels filtered by the uncertainty of MC-dropout: the positive labels of UPS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finepseudo.methods.base import Method, MethodConfig, Pool, Votes
from finepseudo.methods.rounds import label_and_train
from shards.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class UpsConfig(MethodConfig):
    """Keys of `ups`. The passes of MC-dropout are action_encoder.mc_passes."""

    # UPS: least confidence of a positive label
    theta: float = 0.7
    # UPS: its standard deviation over the passes must be below this
    kappa: float = 0.05

    def __post_init__(self) -> None:
        """Refuse constants outside their range."""
        if not 0 <= self.theta <= 1:
            raise ValueError(f"theta {self.theta} must lie in [0, 1]")
        if self.kappa <= 0:
            raise ValueError(f"kappa {self.kappa} must be positive")


def vote(cfg: UpsConfig, pool: Pool) -> Votes:
    """Keep what f_E is sure of in every pass."""
    if not np.isfinite(pool.spread[pool.usable]).all():
        raise UserError("pseudo-labels: ups needs the spread of MC-dropout for every valid clip")
    votes = Votes(pool.p_e, pool.usable)
    return Votes(pool.p_e, pool.usable & (votes.confidence >= cfg.theta) & (pool.spread < cfg.kappa))


UPS = Method(
    name="ups",
    title="Uncertainty-filtered",
    paper="UPS (Rizve et al., ICLR 2021), positive labels",
    hue="sky",
    config=UpsConfig,
    plan=label_and_train,
    vote=vote,
    threshold="theta",
)
