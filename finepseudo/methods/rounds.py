"""Plans that methods share: label the pool and train again, round after round; or train once for all rounds' steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from finepseudo.methods.base import Embed, Label, Plan, Request, Score, TrainAction, TrainFrame


def train_once(_: Any, rounds: int, last: bool) -> Plan:  # noqa: ANN401 - the contract's arguments
    """Train f_E once, from round 0 on, for as many optimiser steps as all rounds of another method take together."""
    return [[TrainAction(number=1, start=0, times=rounds)]] if rounds else []


def label_and_train(_: Any, rounds: int, last: bool) -> Plan:  # noqa: ANN401
    """Label the pool by f_E and train f_E on the labels and the accepted pseudo-labels, round after round."""
    return _rounds(rounds, last, _training, aligns=False)


def label_and_restart(rounds: int, last: bool, *, restart: bool, passes: bool) -> Plan:
    """Do as `label_and_train` with a method's own streams and objective.

    restart: each round trains a network from its start, by a schedule of its own; passes: see `Embed`.
    """

    def train(number: int, rounds: int) -> TrainAction:
        usual = replace(_training(number, rounds), plain=False)
        return replace(usual, start=None, part=0, parts=1) if restart else usual

    return _rounds(rounds, last, train, aligns=False, passes=passes)


def align_and_train(_: Any, rounds: int, last: bool) -> Plan:  # noqa: ANN401
    """Label the pool by f_E and f_A and train both again, round after round (Algorithm 1 of FinePseudo)."""
    return _rounds(rounds, last, _training, aligns=True)


def _training(number: int, rounds: int) -> TrainAction:
    before = number - 1
    return TrainAction(number=number, start=before, labels=before, plain=True, part=before, parts=rounds)


def _rounds(
    rounds: int, last: bool, train: Callable[[int, int], TrainAction], *, aligns: bool, passes: bool = False
) -> Plan:
    """Round r trains on the pseudo-labels of round r - 1, each round on those of its own alone."""
    plan: Plan = [[Label(number=0, scores=aligns)]]
    for number in range(1, rounds + 1):
        before = number - 1
        encoders: list[Request] = [train(number, rounds)]
        if aligns:
            encoders.append(TrainFrame(number=number, labels=before, part=before, parts=rounds))
        plan.append(encoders)
        if number < rounds or last:
            plan.append([Embed(number=number, frames=aligns, passes=passes)])
            plan += [[Score(number=number)]] if aligns else []
            plan.append([Label(number=number, scores=aligns)])
    return plan
