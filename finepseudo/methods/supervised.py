"""The labels alone, what the others are compared with: as many optimiser steps as they take, or as many epochs."""

from __future__ import annotations

from dataclasses import dataclass

from finepseudo.methods.base import Method, MethodConfig, Plan, TrainAction
from finepseudo.methods.rounds import train_once
from shards.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisedConfig(MethodConfig):
    """Keys of `supervised`."""

    epochs: int | None = setting(
        None,
        "passes over the labelled clips for each round of the other methods; null = as many optimiser steps as these",
        source="FinePseudo, sec 4.2: 5 a round",
        at_least=1,
    )


def plan(cfg: SupervisedConfig, rounds: int, last: bool) -> Plan:
    """Train f_E once, for the steps or for the epochs of all rounds."""
    if cfg.epochs is None or not rounds:
        return train_once(cfg, rounds, last)
    return [[TrainAction(number=1, start=0, epochs=rounds * cfg.epochs)]]


SUPERVISED = Method(
    name="supervised",
    title="Supervised only",
    paper="the labelled clips alone, equal optimiser steps or equal epochs",
    hue="grey",
    config=SupervisedConfig,
    plan=plan,
    pool=False,
)
