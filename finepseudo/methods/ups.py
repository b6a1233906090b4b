"""Pseudo-labels filtered by the uncertainty of MC-dropout: the positive labels of UPS."""

from __future__ import annotations

from dataclasses import dataclass

from finepseudo.methods.base import Method, MethodConfig, Pool, Votes
from finepseudo.methods.rounds import label_and_train
from shards.errors import UserError
from shards.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class UpsConfig(MethodConfig):
    """Keys of `ups`. The passes of MC-dropout are action_encoder.mc_passes."""

    theta: float = setting(
        0.7, "least confidence of a positive label", source="UPS (Rizve et al., ICLR 2021)", at_least=0, at_most=1
    )
    kappa: float = setting(0.05, "its standard deviation over the passes must be below this", source="UPS", above=0)


def vote(cfg: UpsConfig, pool: Pool) -> Votes:
    """Keep what f_E is sure of in every pass."""
    import numpy as np

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
    by_row=True,
    threshold="theta",
)
