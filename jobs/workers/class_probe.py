"""Accuracy on held-out labelled clips, measured while f_E is training; what a sweep over f_E is judged by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from jobs.config.run import RunConfig
from jobs.workers.accuracy_probe import tested_in
from jobs.workers.clip_parts import shown
from jobs.workers.pair_probe import OBJECTIVE, reported
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
        """Measure, and tell Ray Train."""
        return reported(self.measure, objective, step)

    @torch.no_grad()
    def measure(self, objective: nn.Module) -> dict[str, float]:
        """Classify the held-out clips that can be read; NaN where none can."""
        network = tested_in(objective, self.tested)
        keys, logits = shown(network, self.cfg, self.shards, self.cfg.action_input, self.truth)
        p = logits.softmax(-1).cpu().numpy()
        if self.keep is not None:
            with atomic(self.keep) as temporary, temporary.open("wb") as stream:
                np.savez(stream, keys=np.array(keys), p=p)
        right = [row.argmax() == self.truth[key] for key, row in zip(keys, p, strict=True)]
        return {OBJECTIVE: float(np.mean(right)) if right else math.nan}
