"""How long one stage is trained and how."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from finepseudo.training.config import MemoryConfig, OptimConfig
from shards.settings import BadSetting, Settings, section, setting, shown


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Settings):
    """How long one stage is trained and how. Exactly one of `steps`, `epochs` and `clips`."""

    steps: int | None = setting(None, "optimiser steps", at_least=1)
    epochs: int | None = setting(
        None,
        "passes over the training clips; in a self-training round over labelled and accepted ones, and a method "
        "that accepts none gets as many steps as the one of the run that takes the most",
        source="paper, sec 4.2: 100 for pre-training and for the labelled stage, 5 a round",
        at_least=1,
    )
    clips: int | None = setting(
        None, "clips that the steps read, those of other streams than the labelled one uncounted", at_least=1
    )
    optim: OptimConfig = section(OptimConfig, "the optimiser and its schedule")
    memory: MemoryConfig = section(MemoryConfig, "what is done without where memory is short")
    checkpoint_every: int = setting(100, "steps between checkpoints", at_least=1)
    log_every: int = setting(10, "steps between lines of the log", at_least=1)

    def check(self) -> None:
        """Refuse a length that is missing or double."""
        others = {"epochs": self.epochs, "clips": self.clips}
        if sum(value is not None for value in (self.steps, *others.values())) != 1:
            told = " and ".join(f"{name} {shown(value)}" for name, value in others.items())
            raise BadSetting("steps", self.steps, f"with {told}; set exactly one, the others to null")

    def in_steps(self, batches_per_epoch: int, batch_size: int, times: int = 1) -> TrainConfig:
        """Give the same length, `times` as long, in optimiser steps of batches of `batch_size` clips."""
        if self.clips is not None:
            steps = math.ceil(self.clips / batch_size)
        else:
            steps = self.steps if self.steps is not None else (self.epochs or 0) * batches_per_epoch
        return replace(self, steps=steps * times, epochs=None, clips=None)
