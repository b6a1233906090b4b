"""Pseudo-labels of every step: what f_E is sure of is its own label, without a strong view or a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from finepseudo.methods.base import Method, Setting, Stream, TrainAction
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import SideBySideConfig, labelled_and_pool, objective_of, weak_view
from shards.settings import setting

if TYPE_CHECKING:
    from finepseudo.training.objectives import Objective
    from shards.read.config import ViewConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabelOnlineConfig(SideBySideConfig):
    """Keys of `pseudo_label_online`."""

    tau: float = setting(
        0.95,
        "least confidence that counts; .3 to .5 with about 100 classes or more",
        source="USB: .95; Lee: 0",
        at_least=0,
        at_most=1,
    )
    weight: float = setting(1.0, "weight of the unlabelled loss", source="USB: 1; Lee: 3, from memory", at_least=0)
    ramp: Literal["none", "linear", "sine"] = setting(
        "linear",
        "after the warm-up: full weight at once | linear over `ramp_share` of the steps left | a quarter of a sine",
        source="Lee, USB: linear",
    )


def streams(cfg: PseudoLabelOnlineConfig, request: TrainAction, view: ViewConfig) -> tuple[Stream, ...]:
    """Read the pool in one view: it is labelled and learnt from the same frames."""
    del request
    return labelled_and_pool(cfg, view, weak_view(cfg, view))


def objective(cfg: PseudoLabelOnlineConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels, and on the argmax of what is sure; the mean is over all unlabelled clips."""
    from finepseudo.consistency.names import WEAK
    from finepseudo.consistency.weighters import Threshold

    return objective_of(cfg, setting, weighter=Threshold(cfg.tau), student=WEAK)


PSEUDO_LABEL_ONLINE = Method(
    name="pseudo_label_online",
    title="Pseudo-label, online",
    paper="Lee, ICML workshops 2013, in the form of USB",
    hue="purple",
    config=PseudoLabelOnlineConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
    presets={"paper": {"tau": 0.0, "weight": 3.0}},
)
