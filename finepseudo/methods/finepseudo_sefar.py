"""SeFAR with a second voter: how well a clip aligns with the labelled ones of each class, beside the teacher.

f_A is trained on the labels and aligns the pool with them once (round 0, as FinePseudo has it); p_A then joins the
teacher in the label and in its weight. With both shares 0 it is SeFAR to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from finepseudo.methods import sefar
from finepseudo.methods.base import Method, Plan, Score, Setting, TrainAction
from finepseudo.methods.sefar import SefarConfig
from finepseudo.methods.voting import by_alignment
from shards.settings import setting

if TYPE_CHECKING:
    from finepseudo.training.objectives import Objective

NAME = "finepseudo_sefar"


@dataclass(frozen=True, kw_only=True, slots=True)
class FinePseudoSefarConfig(SefarConfig):
    """Keys of `finepseudo_sefar`."""

    tau: float = setting(0.1, "temperature of p_A = softmax(S / tau)", source="FinePseudo, sec 4.2", above=0)
    target_share: float = setting(
        0.5,
        "share of p_A in what the label and the mixed target are taken from; the rest is the teacher's",
        source="this project; FinePseudo's mean of two votes",
        at_least=0,
        at_most=1,
    )
    weight_share: float = setting(
        0.5,
        "share of p_A in the confidence that weighs the label; its steadiness is the teacher's alone",
        source="this project; FinePseudo's mean of two votes",
        at_least=0,
        at_most=1,
    )


def plan(cfg: FinePseudoSefarConfig, rounds: int, last: bool) -> Plan:
    """Train f_E once, with the alignability of round 0 beside it."""
    del cfg, last
    return [[TrainAction(number=1, start=0, times=rounds, side=(Score(number=0),))]] if rounds else []


def objective(cfg: FinePseudoSefarConfig, setting: Setting) -> Objective:
    """SeFAR's losses, both voters in the label and in its weight."""
    from finepseudo.consistency.side import Vote

    (scores,) = setting.side
    return sefar.objective(cfg, setting, vote=Vote(scores, cfg.tau, cfg.target_share, cfg.weight_share))


FINEPSEUDO_SEFAR = Method(
    name=NAME,
    title="FinePseudo + SeFAR",
    paper="this project: FinePseudo's alignability vote in SeFAR's target and weight",
    hue="purple",
    config=FinePseudoSefarConfig,
    plan=plan,
    streams=partial(sefar.streams, name=NAME),
    objective=objective,
    network=sefar.network,
    fits=sefar.fits,
    aligns=True,
    p_a=by_alignment,
)
