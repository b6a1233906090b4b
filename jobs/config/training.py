"""How long one stage is trained and how."""

from __future__ import annotations

from dataclasses import dataclass

from finepseudo.training.config import MemoryConfig, OptimConfig
from shards.settings import BadSetting, Settings, section, setting, shown


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Settings):
    """How long one stage is trained and how. Exactly one of `steps` and `epochs`."""

    steps: int | None = setting(
        None, "optimiser steps; self-training needs them so that every method gets the same number", at_least=1
    )
    epochs: int | None = setting(
        None,
        "passes over the training clips",
        source="paper, sec 4.2: 100 for pre-training and for the labelled stage",
        at_least=1,
    )
    optim: OptimConfig = section(OptimConfig, "the optimiser and its schedule")
    memory: MemoryConfig = section(MemoryConfig, "what is done without where memory is short")
    checkpoint_every: int = setting(100, "steps between checkpoints", at_least=1)
    log_every: int = setting(10, "steps between lines of the log", at_least=1)

    def check(self) -> None:
        """Refuse a length that is missing or double."""
        if (self.steps is None) == (self.epochs is None):
            raise BadSetting(
                "steps", self.steps, f"with epochs {shown(self.epochs)}; set exactly one, the other to null"
            )
