"""UDA: the sharpened probabilities of the weak view, where they are sure, are what the strong one is taught."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from finepseudo.methods.base import Method, Setting
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import SelfTaughtConfig, objective_of, streams
from shards.settings import setting

if TYPE_CHECKING:
    from finepseudo.training.objectives import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class UdaConfig(SelfTaughtConfig):
    """Keys of `uda`."""

    tau: float = setting(
        0.8,
        "least confidence that counts; .3 to .5 with about 100 classes or more",
        source="ActorCutMix's code: .8",
        at_least=0,
        at_most=1,
    )
    temperature: float = setting(
        0.4, "that the probabilities are sharpened by; 1 leaves them", source="ActorCutMix's code: .4", above=0
    )


def objective(cfg: UdaConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels, and on sharpened probabilities of what is sure; the mean is over all of the pool."""
    from finepseudo.consistency.targets import sharpened
    from finepseudo.consistency.weighters import Threshold

    return objective_of(
        cfg,
        setting,
        weighter=Threshold(cfg.tau),
        target=partial(sharpened, temperature=cfg.temperature),
    )


UDA = Method(
    name="uda",
    title="UDA",
    paper="Xie et al., NeurIPS 2020, as ActorCutMix runs it on clips",
    hue="orange",
    config=UdaConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
)
