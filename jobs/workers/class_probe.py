"""Accuracy on held-out labelled clips, measured while f_E is training; what a sweep over f_E is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from finepseudo.distributed import rank
from jobs.config.run import RunConfig
from jobs.workers.clip_parts import evaluation_reader
from jobs.workers.pair_probe import OBJECTIVE
from shards.files import atomic


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassProbe:
    """Top-1 of f_E over held-out clips, one view each. truth: key -> label; tested: student or teacher."""

    cfg: RunConfig
    shards: Path
    truth: Mapping[str, int]
    tested: str = "student"
    # file that keeps the probabilities, for whoever judges votes on them
    keep: Path | None = None

    def __call__(self, objective: nn.Module, step: int) -> dict[str, float]:
        """Measure on rank 0 and report to Ray Train on every rank, as its barrier wants."""
        import ray.train

        values = self.measure(objective) if rank() == 0 else {}
        ray.train.report({**values, "step": step})
        return values

    @torch.no_grad()
    def measure(self, objective: nn.Module) -> dict[str, float]:
        """Classify the held-out clips that can be read."""
        network = objective.get_submodule("teacher.model" if self.tested == "teacher" else "encoder")
        device = next(network.parameters()).device
        reader = evaluation_reader(self.cfg, self.shards, [self.cfg.action_input.view()], device)
        keys: list[str] = []
        parts = []
        for batch in reader.batches(sorted(self.truth), self.cfg.embed.batch):
            sound = batch.sound()
            keys += sound.keys
            parts.append(network(sound.frames[:, 0].to(device)).float().softmax(-1).cpu().numpy())
        p = np.concatenate(parts)
        if self.keep is not None:
            with atomic(self.keep) as temporary, temporary.open("wb") as stream:
                np.savez(stream, keys=np.array(keys), p=p)
        right = p.argmax(1) == np.array([self.truth[key] for key in keys])
        return {OBJECTIVE: float(right.mean())}
