"""FixMatch: what is surely so of the weak view is the label of the strong one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finepseudo.methods.base import Method, Setting
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import ConsistencyConfig, half_life_of, ramp_of, streams, warm_steps
from shards.settings import setting

if TYPE_CHECKING:
    from finepseudo.training.objectives import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class FixMatchConfig(ConsistencyConfig):
    """Keys of `fixmatch`."""

    tau: float = setting(
        0.95,
        "least confidence that counts; .3 to .5 with about 100 classes or more",
        source="FixMatch: .95; LTG and SVFormer on video: .3",
        at_least=0,
        at_most=1,
    )
    half_life: float | None = setting(
        0.0,
        "optimiser steps in which a weight's share in the teacher halves; 0 = the student teaches itself; null = a "
        "tenth of the steps after the warm-up, at least 50",
        source="FixMatch: the student itself",
        at_least=0,
    )


def objective(cfg: FixMatchConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels, and on the argmax of what is sure; the mean is over all unlabelled clips."""
    from finepseudo.consistency.objective import ConsistencyObjective, Parts
    from finepseudo.consistency.weighters import Threshold

    parts = Parts(
        weighter=Threshold(cfg.tau),
        ramp=ramp_of(cfg, setting.steps),
        half_life=half_life_of(cfg, setting.steps),
        warm_up=warm_steps(cfg, setting.steps),
    )
    return ConsistencyObjective(setting.encoder, setting.loss, parts, setting.seed)


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
