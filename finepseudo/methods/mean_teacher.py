"""Mean Teacher: the student agrees, in probabilities, with the moving average of its own weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from finepseudo.methods.base import Method, Setting
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import (
    ConsistencyConfig,
    StrongConfig,
    objective_of,
    streams,
)
from shards.settings import section, setting

if TYPE_CHECKING:
    from finepseudo.training.objectives import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanTeacherConfig(ConsistencyConfig):
    """Keys of `mean_teacher`."""

    weight: float = setting(
        100.0,
        "weight of the squared distance, a mean over classes",
        source="Mean Teacher: 100, from memory",
        at_least=0,
    )
    ramp: Literal["none", "linear", "sine"] = setting(
        "linear",
        "after the warm-up: full weight at once | linear over `ramp_share` of the steps left | a quarter of a sine",
        source="Mean Teacher ramps up; its form as USB",
    )
    half_life: float | None = setting(
        693.0,
        "optimiser steps in which a weight's share in the teacher halves; while fewer are done it averages them all",
        source="Mean Teacher: .999, min(1 - 1 / (t + 1), .999)",
        at_least=0,
    )
    strong: StrongConfig = section(
        lambda: StrongConfig(jitter=0, gray=0, blur=0, erase=0), "how the student's view differs; nothing: noise alone"
    )


def objective(cfg: MeanTeacherConfig, setting: Setting) -> Objective:
    """Cross-entropy, and the squared distance to the teacher's probabilities."""
    from finepseudo.consistency.objective import squared_distance
    from finepseudo.consistency.weighters import Threshold

    return objective_of(
        cfg,
        setting,
        weighter=Threshold(0.0),
        early=True,
        target=lambda probabilities: probabilities,
        distance=squared_distance,
    )


MEAN_TEACHER = Method(
    name="mean_teacher",
    title="Mean Teacher",
    paper="Tarvainen and Valpola, NeurIPS 2017",
    hue="purple",
    config=MeanTeacherConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
    tested="teacher",
)
