"""SoftMatch: no threshold; a label counts by how its confidence lies to the running mean of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finepseudo.methods.base import Method, Setting
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import SelfTaughtConfig, objective_of, streams
from shards.settings import setting

if TYPE_CHECKING:
    from finepseudo.training.objectives import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftMatchConfig(SelfTaughtConfig):
    """Keys of `softmatch`."""

    momentum: float = setting(
        0.999, "of the running mean and variance of the confidence", source="SoftMatch: .999", at_least=0, below=1
    )
    sigmas: float = setting(2.0, "width of the Gaussian: variance / sigmas^2", source="SoftMatch: 2", above=0)


def objective(cfg: SoftMatchConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels, and on the argmax of the weak view, weighed by a Gaussian of its confidence."""
    from finepseudo.consistency.weighters import SoftMatch

    return objective_of(
        cfg,
        setting,
        weighter=SoftMatch(setting.n_classes, cfg.momentum, cfg.sigmas),
    )


SOFTMATCH = Method(
    name="softmatch",
    title="SoftMatch",
    paper="Chen et al., ICLR 2023: its weights, without uniform alignment",
    hue="sky",
    config=SoftMatchConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
)
