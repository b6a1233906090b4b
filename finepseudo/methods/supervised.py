"""The labels alone, for as many optimiser steps as every other method takes: what the others are compared with."""

from __future__ import annotations

from finepseudo.methods.base import Method, MethodConfig
from finepseudo.methods.rounds import train_once

SUPERVISED = Method(
    name="supervised",
    title="Supervised only",
    paper="the labelled clips alone, equal optimiser steps",
    hue="grey",
    config=MethodConfig,
    plan=train_once,
    pool=False,
)
