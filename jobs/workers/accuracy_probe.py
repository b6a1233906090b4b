"""Accuracy of f_E on held-out labelled clips while it is training: a curve, and what the best weights are chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from jobs.config.run import RunConfig
from jobs.workers.clip_parts import shown
from shards.types import ItemTable

ACCURACY = "valid/accuracy"


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyProbe:
    """Accuracy and cross-entropy of one view of each held-out clip. tested: student or teacher."""

    cfg: RunConfig
    shards: Path
    held_out: ItemTable
    tested: str = "student"

    def __call__(self, objective: nn.Module, step: int) -> dict[str, float]:
        """Measure on every rank: what is sharded runs on all of them or on none."""
        return self.measure(objective)

    @torch.inference_mode()
    def measure(self, objective: nn.Module) -> dict[str, float]:
        """Test the objective's encoder; it is in evaluation mode already. Nothing where no clip can be read."""
        truth = dict(zip(self.held_out.keys, self.held_out.labels.tolist(), strict=True))
        keys, logits = shown(tested_in(objective, self.tested), self.cfg, self.shards, self.cfg.action_input, truth)
        if not keys:
            return {}
        logits, labels = logits.cpu(), torch.tensor([truth[key] for key in keys])
        accuracy = (logits.argmax(-1) == labels).double().mean()
        return {ACCURACY: float(accuracy), "valid/loss": float(cross_entropy(logits, labels))}


def tested_in(objective: nn.Module, tested: str) -> nn.Module:
    """Find the network of an objective that is tested, its student or its teacher."""
    return objective.get_submodule("teacher.model" if tested == "teacher" else "encoder")
