"""UPS: pseudo-labels that f_E is sure of in every pass of MC-dropout, and classes that it surely rules out.

The passes have dropout before the last layer, the only place where the networks here drop out. Clips without a positive
label are trained on the classes that they are not (negative cross-entropy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finepseudo.methods.base import (
    LABELLED,
    Labels,
    Method,
    MethodConfig,
    Plan,
    Pool,
    Setting,
    Stream,
    TrainAction,
    Votes,
)
from finepseudo.methods.rounds import label_and_restart
from shards.settings import setting

if TYPE_CHECKING:
    from finepseudo.methods.base import Bools
    from finepseudo.training.objectives import Objective
    from shards.read.config import ViewConfig

RULED_OUT = "ruled_out"
"""Name of the stream of clips that are trained on negative labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpsConfig(MethodConfig):
    """Keys of `ups`. Passes and temperature of MC-dropout are action_encoder.mc_passes and mc_temperature."""

    theta: float = setting(
        0.7, "least mean probability of a positive label", source="UPS (Rizve et al., ICLR 2021)", at_least=0, at_most=1
    )
    kappa: float = setting(0.05, "its standard deviation over the passes must be below this", source="UPS", above=0)
    negative_theta: float = setting(
        0.05, "mean tempered probability below which a class is ruled out", source="UPS", at_least=0, at_most=1
    )
    negative_kappa: float = setting(
        0.005, "its standard deviation over the passes must be below this", source="UPS", above=0
    )
    balanced_rounds: int = setting(
        9,
        "rounds, the labelling by round 0 among them, whose positive labels are balanced over the classes; 0 = none",
        source="UPS's code: 9 of 20",
        at_least=0,
    )
    class_floor: int = setting(
        25,
        "positive labels that a balanced class keeps, those of lowest uncertainty; or as many as the rarest class has",
        source="UPS: max(25, smallest class)",
        at_least=1,
    )
    negatives: bool = setting(True, "whether clips without a positive label teach what they are not", source="UPS")
    negative_share: float = setting(
        1.0, "such clips of a step for each labelled or pseudo-labelled one", source="this project", above=0
    )
    negative_weight: float = setting(1.0, "weight of the negative cross-entropy", source="UPS: 1", at_least=0)
    reinitialise: bool = setting(
        False,
        "whether every round trains a network from its start, at the full rate, in place of going on with the last one",
        source="UPS: yes; its rounds are whole trainings, here they are short",
    )


def vote(cfg: UpsConfig, pool: Pool) -> Votes:
    """Keep what f_E is sure of in every pass, and say what it rules out."""
    import torch

    from finepseudo.consistency.targets import negatives
    from finepseudo.consistency.weighters import LowUncertainty, of_label

    if pool.passes is None:
        raise ValueError("this vote needs the passes of MC-dropout; its Embed request must say passes=True")
    mean, std = torch.from_numpy(pool.passes.mean), torch.from_numpy(pool.passes.std)
    label = mean.argmax(dim=1)
    sure = LowUncertainty(cfg.theta, cfg.kappa)(mean, std, label).bool().numpy()
    tempered = torch.from_numpy(pool.passes.tempered_mean), torch.from_numpy(pool.passes.tempered_std)
    ruled_out = negatives(*tempered, label, cfg.negative_theta, cfg.negative_kappa).numpy()
    return Votes(
        pool.passes.mean,
        pool.usable & sure,
        spread=of_label(std, label).numpy(),
        negative=ruled_out & pool.usable[:, None],
    )


def keep(cfg: UpsConfig, number: int, labels: Labels) -> Bools:
    """Balance the positive labels: of each class at most max(class_floor, its rarest class), the surest first."""
    import numpy as np

    if number >= cfg.balanced_rounds:
        return labels.accepted
    place = np.flatnonzero(labels.accepted)
    counts = np.bincount(labels.label[place], minlength=labels.classes)
    cap = max(cfg.class_floor, int(counts.min()))
    kept = np.zeros_like(labels.accepted)
    for one in np.unique(labels.label[place]):
        own = place[labels.label[place] == one]
        kept[own[np.argsort(labels.spread[own], kind="stable")[:cap]]] = True
    return kept


def plan(cfg: UpsConfig, rounds: int, last: bool) -> Plan:
    """Label and train, round after round."""
    return label_and_restart(rounds, last, restart=cfg.reinitialise, passes=True)


def streams(cfg: UpsConfig, request: TrainAction, view: ViewConfig) -> tuple[Stream, ...]:
    """Read labelled and positively labelled clips, and beside them those that only rule out classes."""
    del request
    labelled = Stream(name=LABELLED, role="labelled", views=(view,))
    negative = Stream(name=RULED_OUT, role="ruled_out", views=(view,), share=cfg.negative_share)
    return (labelled, negative) if cfg.negatives else (labelled,)


def objective(cfg: UpsConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels, negative cross-entropy on what is ruled out."""
    from finepseudo.consistency.ruled_out import RuledOutObjective
    from finepseudo.methods.labelling import ruled_out
    from finepseudo.training.objectives import CrossEntropyObjective

    if not cfg.negatives or setting.labels is None:
        return CrossEntropyObjective(setting.encoder, setting.loss)
    keys, negative = ruled_out(setting.labels)
    return RuledOutObjective(
        setting.encoder, setting.loss, dict(zip(keys, negative, strict=True)), weight=cfg.negative_weight
    )


UPS = Method(
    name="ups",
    title="UPS",
    paper="Rizve et al., ICLR 2021: positive and negative labels by MC-dropout",
    hue="sky",
    config=UpsConfig,
    plan=plan,
    streams=streams,
    objective=objective,
    vote=vote,
    keep=keep,
    by_row=True,
    passes=True,
    training_keys=("negatives", "negative_share", "negative_weight", "reinitialise"),
    presets={
        "paper": {
            "reinitialise": True,
            "optim.name": "sgd",
            "optim.lr": 0.03,
            "optim.weight_decay": 0.0,  # its code reads one and gives none to the optimiser
            "optim.warmup_epochs": 0.0,
            "optim.clip_norm": None,
        }
    },
    threshold="theta",
)
