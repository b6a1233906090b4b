"""Pair verification on held-out labelled clips, measured while f_A is training; what a sweep is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from finepseudo.alignment.distances import cross_distances
from finepseudo.distributed import rank
from finepseudo.evaluation.metrics import average_precision
from finepseudo.soft_dtw import AlignmentBank
from finepseudo.training.objectives import AlignabilityObjective
from jobs.config.run import RunConfig
from jobs.workers.clip_parts import shown
from jobs.workers.score import Scorer
from shards.files import atomic
from shards.types import ItemTable

OBJECTIVE = "tune/objective"
"""What trials of a sweep are compared by: higher is better."""


PAIR_AP = "valid/pair_ap"


def reported(measure: Callable[[nn.Module], dict[str, float]], objective: nn.Module, step: int) -> dict[str, float]:
    """Measure on rank 0 and report to Ray Train on every rank, as its barrier wants."""
    import ray.train

    values = measure(objective) if rank() == 0 else {}
    ray.train.report({**values, "step": step})
    return values


@dataclass(frozen=True, kw_only=True, slots=True)
class PairProbe:
    """Average precision of S over the pairs of a held-out clip with any other labelled clip, same class = relevant."""

    cfg: RunConfig
    shards: Path
    labelled: ItemTable
    held: frozenset[str]
    # file that keeps the embeddings, for whoever judges votes on them
    keep: Path | None = None

    def __call__(self, objective: nn.Module, step: int) -> dict[str, float]:
        """Measure, and tell Ray Train."""
        return reported(self.measure, objective, step)

    @torch.no_grad()
    def measure(self, objective: nn.Module) -> dict[str, float]:
        """Embed the labelled clips with the objective's encoder and score the pairs; NaN where none is of one class."""
        if not isinstance(objective, AlignabilityObjective):
            raise TypeError(f"{type(objective).__name__} has no alignability encoder")
        truth = dict(zip(self.labelled.keys, self.labelled.labels.tolist(), strict=True))
        keys, embeddings = shown(objective.encoder, self.cfg, self.shards, self.cfg.frame_input, truth)
        if self.keep is not None:
            with atomic(self.keep) as temporary, temporary.open("wb") as stream:
                np.savez(stream, keys=np.array(keys), embeddings=embeddings.cpu().numpy())
        held = np.array([key in self.held for key in keys], bool)
        if not held.any():
            return {OBJECTIVE: math.nan}
        labels, bank = np.array([truth[key] for key in keys]), AlignmentBank(embeddings)
        distances = cross_distances(embeddings[torch.from_numpy(held)], bank, self.cfg.frame_stage.loss)
        scores = Scorer(objective.scorer, embeddings.shape[1])(distances.to(embeddings.device)).cpu().numpy()
        wanted = np.ones_like(scores, dtype=bool)
        wanted[np.arange(int(held.sum())), np.flatnonzero(held)] = False  # a clip with itself is no pair
        same = labels[held][:, None] == labels[None, :]
        return {OBJECTIVE: average_precision(scores[wanted], same[wanted])}


@dataclass(frozen=True, kw_only=True, slots=True)
class VerificationProbe:
    """What `PairProbe` measures, as a curve beside the training of a run: no Ray is told."""

    cfg: RunConfig
    shards: Path
    labelled: ItemTable
    held_out: ItemTable

    def __call__(self, objective: nn.Module, step: int) -> dict[str, float]:
        """Measure on every rank: what is sharded runs on all of them or on none. Nothing where there is no pair."""
        if not len(self.held_out):
            return {}
        both = ItemTable(
            keys=[*self.labelled.keys, *self.held_out.keys],
            labels=np.concatenate([self.labelled.labels, self.held_out.labels]),
            pseudo=np.zeros(len(self.labelled) + len(self.held_out), np.bool_),
        )
        pairs = PairProbe(cfg=self.cfg, shards=self.shards, labelled=both, held=frozenset(self.held_out.keys))
        value = pairs.measure(objective)[OBJECTIVE]
        return {} if math.isnan(value) else {PAIR_AP: value}
