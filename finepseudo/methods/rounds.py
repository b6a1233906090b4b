"""Plans that methods share: label the pool and train again, round after round; or train once for all rounds' steps."""

from __future__ import annotations

from typing import Any

from finepseudo.methods.base import Embed, Label, Plan, Request, Score, TrainAction, TrainFrame


def train_once(_: Any, rounds: int, last: bool) -> Plan:  # noqa: ANN401 - the contract's arguments
    """Train f_E once, from round 0 on, for as many optimiser steps as all rounds of another method take together."""
    return [[TrainAction(number=1, start=0, times=rounds)]] if rounds else []


def label_and_train(_: Any, rounds: int, last: bool) -> Plan:  # noqa: ANN401
    """Label the pool by f_E and train f_E on the labels and the accepted pseudo-labels, round after round."""
    return _rounds(rounds, last, aligns=False)


def align_and_train(_: Any, rounds: int, last: bool) -> Plan:  # noqa: ANN401
    """Label the pool by f_E and f_A and train both again, round after round (Algorithm 1 of FinePseudo)."""
    return _rounds(rounds, last, aligns=True)


def _rounds(rounds: int, last: bool, *, aligns: bool) -> Plan:
    """Round r trains on the pseudo-labels of round r - 1, each round on those of its own alone."""
    plan: Plan = [[Label(number=0, scores=aligns)]]
    for number in range(1, rounds + 1):
        before = number - 1
        encoders: list[Request] = [
            TrainAction(number=number, start=before, labels=before, plain=True, part=before, parts=rounds)
        ]
        if aligns:
            encoders.append(TrainFrame(number=number, labels=before, part=before, parts=rounds))
        plan.append(encoders)
        if number < rounds or last:
            plan.append([Embed(number=number, frames=aligns)])
            plan += [[Score(number=number)]] if aligns else []
            plan.append([Label(number=number, scores=aligns)])
    return plan
