"""FixMatch: what is surely so of the weak view is the label of the strong one."""

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
class FixMatchConfig(SelfTaughtConfig):
    """Keys of `fixmatch`."""

    tau: float = setting(
        0.95,
        "least confidence that counts; .3 to .5 with about 100 classes or more",
        source="FixMatch: .95; LTG and SVFormer on video: .3",
        at_least=0,
        at_most=1,
    )


def objective(cfg: FixMatchConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels, and on the argmax of what is sure; the mean is over all unlabelled clips."""
    from finepseudo.consistency.weighters import Threshold

    return objective_of(
        cfg,
        setting,
        weighter=Threshold(cfg.tau),
    )


FIXMATCH = Method(
    name="fixmatch",
    title="FixMatch",
    paper="Sohn et al., NeurIPS 2020, on clips",
    hue="red",
    config=FixMatchConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
)
