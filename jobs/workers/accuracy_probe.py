"""Accuracy of f_E on held-out labelled clips while it is training: a curve, and what the best weights are chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jobs.config.run import RunConfig
from jobs.workers.clip_parts import evaluation_reader
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
        keys, logits = self._logits(objective)
        if not keys:
            return {}
        labels = torch.tensor([truth[key] for key in keys])
        accuracy = (logits.argmax(-1) == labels).double().mean()
        return {ACCURACY: float(accuracy), "valid/loss": float(cross_entropy(logits, labels))}

    def _logits(self, objective: nn.Module) -> tuple[list[str], Tensor]:
        network = objective.get_submodule("teacher.model" if self.tested == "teacher" else "encoder")
        device = next(network.parameters()).device
        reader = evaluation_reader(self.cfg, self.shards, [self.cfg.action_input.view()], device)
        keys: list[str] = []
        parts: list[Tensor] = []
        for batch in reader.batches(sorted(self.held_out.keys), self.cfg.embed.batch):
            sound = batch.sound()
            if sound.keys:
                keys += sound.keys
                parts.append(network(sound.frames[:, 0].to(device)).float().cpu())
        return keys, torch.cat(parts) if parts else torch.empty(0, 0)
