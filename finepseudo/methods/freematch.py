"""FreeMatch: thresholds that follow the confidence of the model, over all clips and class by class."""

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
class FreeMatchConfig(SelfTaughtConfig):
    """Keys of `freematch`."""

    momentum: float = setting(
        0.999, "of the running means that the thresholds are made of", source="FreeMatch: .999", at_least=0, below=1
    )


def objective(cfg: FreeMatchConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels, and on the argmax of the weak view, where it reaches the threshold of its class."""
    from finepseudo.consistency.weighters import FreeMatch

    return objective_of(
        cfg,
        setting,
        weighter=FreeMatch(setting.n_classes, cfg.momentum),
    )


FREEMATCH = Method(
    name="freematch",
    title="FreeMatch",
    paper="Wang et al., ICLR 2023: its thresholds, without the fairness loss",
    hue="green",
    config=FreeMatchConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
)
