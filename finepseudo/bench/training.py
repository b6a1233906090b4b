"""Single-process training loops of the method study. Real runs go through the training job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finepseudo.training.config import OptimConfig
from finepseudo.training.objectives import StepOutput
from finepseudo.training.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate
from shards.types import ClipBatch

Rows = npt.NDArray[np.int64]


class ClipSource(Protocol):
    """Clips in memory, numbered from 0."""

    def batch(self, rows: Rows, labels: Rows, policy: str, rng: np.random.Generator | None) -> ClipBatch:
        """Sample frames of clips `rows` with the labels to train on; policy uniform or gitdl; no rng = evaluation."""
        ...


def train(
    objective: nn.Module, cfg: OptimConfig, batches: Iterator[ClipBatch], steps: int, scale: float = 1.0
) -> StepOutput:
    """Run `steps` optimiser steps with warm-up and cosine over them, the rate times `scale`; return the last output."""
    objective.train()
    optimizer = build_optimizer(objective, cfg)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    warmup = max(steps // 10, 1)
    for step in range(steps):
        set_learning_rate(optimizer, scale * learning_rate(cfg, step, steps, warmup))
        out: StepOutput = objective(next(batches))
        optimizer.zero_grad(set_to_none=True)
        out.loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(parameters, cfg)
        optimizer.step()
    objective.eval()
    return out


def shuffled(source: ClipSource, rows: Rows, policy: str, size: int, rng: np.random.Generator) -> Iterator[ClipBatch]:
    """Yield batches of `size` unlabelled clips, each clip once an epoch, for ever."""
    while True:
        order = rng.permutation(rows)
        for first in range(0, len(order) - size + 1, size):
            part = order[first : first + size]
            yield source.batch(part, np.full(size, -1), policy, rng)


def balanced(
    source: ClipSource, pools: list[tuple[Rows, Rows]], classes: int, per_class: int, rng: np.random.Generator
) -> Iterator[ClipBatch]:
    """Yield `classes` classes x `per_class` clips, drawn with replacement where it must.

    pools: (rows, labels) of the true labels and, where there are any, of the pseudo-labels. Classes come from both.
    Half of a class's clips are pseudo-labelled where most of its labels are, else each comes equally often: the rule
    of the balanced order of real runs.
    """
    present = np.unique(np.concatenate([labels for _, labels in pools]))
    members = {label: [rows[labels == label] for rows, labels in pools] for label in present.tolist()}
    while True:
        rows: list[int] = []
        labels: list[int] = []
        for label in rng.permutation(present)[:classes].tolist():
            sides = members[label]
            if not 0 < len(sides[0]) < len(sides[-1]):
                sides = [np.concatenate(sides) if len(sides) > 1 else sides[0]]
            for index in range(per_class):
                side = sides[index % len(sides)]
                free = np.setdiff1d(side, rows)
                rows.append(int(rng.choice(free if len(free) else side)))
                labels.append(label)
        yield source.batch(np.array(rows), np.array(labels), "uniform", rng)


@torch.no_grad()
def in_chunks(source: ClipSource, rows: Rows, run: Callable[[Tensor], Tensor], size: int = 32) -> Tensor:
    """Apply `run` to frames [B, T, C, H, W] of all `rows` in the evaluation transform; concatenate."""
    parts = []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        parts.append(run(source.batch(part, np.full(len(part), -1), "uniform", None).frames[:, 0]))
    return torch.cat(parts)
