"""Labelled and unlabelled clips side by side: cross-entropy, and agreement with a teacher; one objective, many methods.

A step: the teacher labels the weak view of every unlabelled clip, the student learns that label from the strong view,
weighted by how far it is to be believed. Labelled, strong and mixed clips go through the student in one forward. Means
are taken over all valid unlabelled clips of all ranks, those of weight 0 too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from finepseudo.consistency import targets
from finepseudo.consistency.mixers import mix, partner_rows, token_mask
from finepseudo.consistency.names import STRONG, WEAK
from finepseudo.consistency.network import Network, taught
from finepseudo.consistency.perturb import Slots, drop_channels, picked
from finepseudo.consistency.stepped import Stepped
from finepseudo.consistency.teacher import MeanTeacher, momentum_of
from finepseudo.consistency.weighters import Weighter
from finepseudo.distributed import global_mean, widened
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import Batches, StepOutput, supervised
from shards.types import ClipBatch, rows_of

Perturb = Callable[[Tensor, Slots, np.random.Generator], Tensor]
"""Strong frames in order of time [B, T, C, H, W] and the slots of their groups -> the same shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixing:
    """Tube token mix of two strong views (SVFormer, SeFAR).

    beta: own share ~ Beta(beta, beta), one a step. weight: of its loss, relative to that of the strong views. target:
    from the teacher's probabilities. weighted: by the mixed weights of both labels. logits: the squared distance is
    that of raw logits (the released codes), else of probabilities.
    """

    beta: float
    weight: float
    target: Callable[[Tensor], Tensor]
    weighted: bool
    logits: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a method chooses.

    ramp: optimiser steps done -> weight of the unlabelled loss; a step where it is 0 reads labels alone. target:
    teacher's probabilities -> what is taught [N, C]; distance: logits, target -> loss [N]. passes: K of the teacher's
    head. half_life: of the teacher, in optimiser steps, 0 = it is the student itself; until `warm_up` it copies the
    student. early: while fewer steps are behind it, it averages them all (Mean Teacher: min(1 - 1 / (t + 1), m)).
    vote: keys, teacher's probabilities -> what the label and what the weight is taken from, where another voter joins.
    student: name of the view that it sees; the teacher sees `weak`.
    slots: frames T -> the groups that clips are read in, views `weak.0`, `weak.1`, ..; None = a view holds all frames.
    channel_drop: probability that a colour plane of a group of strong frames is zeroed; drop_alike: of all its groups.
    """

    weighter: Weighter
    ramp: Callable[[int], float]
    half_life: float
    warm_up: int = 0
    early: bool = False
    target: Callable[[Tensor], Tensor] = targets.hard
    distance: Callable[[Tensor, Tensor], Tensor] = targets.soft_cross_entropy
    passes: int = 1
    vote: Callable[[Sequence[str], Tensor], tuple[Tensor, Tensor]] | None = None
    student: str = STRONG
    slots: Callable[[int], Slots] | None = None
    perturb: Perturb | None = None
    channel_drop: float = 0.0
    drop_alike: bool = False
    mixing: Mixing | None = None


@dataclass(frozen=True, slots=True)
class _Pool:
    """The unlabelled clips of this rank at a step: what is taught of them, how much it counts, what the student sees.

    strong: frames before colour dropout; partner: the row that each is mixed with.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    strong: Tensor
    partner: Sequence[int]


class ConsistencyObjective(Stepped):
    """Trains `encoder` on labels and on its agreement with `teacher`."""

    def __init__(self, encoder: Network, cfg: CrossEntropyConfig, parts: Parts, seed: int) -> None:
        """Start the teacher as a copy. What a step draws for all ranks alike comes from `seed` and its number."""
        super().__init__(seed)
        self.encoder, self.cfg, self.parts = encoder, cfg, parts
        self.teacher = MeanTeacher(encoder)
        self.weighter = parts.weighter  # registered where it has running statistics

    def after_step(self, step: int, total: int) -> None:
        """Move the teacher, once an optimiser step: a function of the student's weights alone."""
        super().after_step(step, total)
        behind = step - self.parts.warm_up
        momentum = momentum_of(self.parts.half_life) if behind > 0 and self.parts.half_life > 0 else 0.0
        if self.parts.early:
            momentum = min(momentum, 1 - 1 / (max(behind, 0) + 1))
        self.teacher.follow(self.encoder, momentum)

    def forward(self, batches: Batches) -> StepOutput:
        """Compute the loss of a labelled batch (first) and of the unlabelled one with the views of both models."""
        labelled, unlabelled = (batch.sound() for batch in batches.values())
        ramp, rng = self.parts.ramp(self.done), np.random.default_rng((self.seed, self.done))
        seen = [self._frames(labelled, next(iter(labelled.views)).partition(".")[0])]
        pool, share = None, 1.0
        if ramp > 0:
            pool = self._pool(unlabelled, partner_rows(list(batches.values())[1].valid), rng)
            own = self._dropped(pool.strong)
            seen.append(own)
            if self.parts.mixing is not None:
                share = float(rng.beta(self.parts.mixing.beta, self.parts.mixing.beta))
                seen.append(mix(own, rows_of(pool.strong, pool.partner), self._mask(pool.strong, share, rng)))
        logits = torch.split(widened(self.encoder(torch.cat(seen))), [len(part) for part in seen])
        labelled_loss = supervised(logits[0], labelled.labels, self.cfg)
        agreement, mixed = self._unlabelled(logits, pool, share)
        loss = labelled_loss + ramp * (agreement + mixed)
        metrics = {"train/loss": loss, "train/supervised": labelled_loss, "train/agreement": agreement}
        metrics |= {"train/mixed": mixed} if self.parts.mixing is not None else {}
        metrics |= {"train/ramp": torch.full_like(loss, ramp), **_told(pool, loss)}
        return StepOutput(loss, {name: value.detach() for name, value in metrics.items()})

    def _frames(self, batch: ClipBatch, name: str) -> Tensor:
        """Give the frames of a view in order of time [B, T, C, H, W]; its groups `name.0`, .. are put together."""
        parts = [view.frames[:, 0] for own, view in batch.views.items() if own == name or own.startswith(f"{name}.")]
        frames = torch.cat(parts, dim=1)
        flat = [slot for group in self._slots(frames) for slot in group]
        return picked(frames, sorted(range(len(flat)), key=flat.__getitem__)) if len(parts) > 1 else frames

    def _slots(self, frames: Tensor) -> Slots:
        length = frames.shape[1]
        return [range(length)] if self.parts.slots is None else self.parts.slots(length)

    def _pool(self, batch: ClipBatch, partner: Sequence[int], rng: np.random.Generator) -> _Pool:
        mean, std = taught(self.teacher.model, self._frames(batch, WEAK), self.parts.passes)  # type: ignore[arg-type]
        mean, weighed = (mean, mean) if self.parts.vote is None else self.parts.vote(batch.keys, mean)
        weight = self.weighter(weighed, std, mean.argmax(dim=1))
        strong = self._frames(batch, self.parts.student)
        if self.parts.perturb is not None:
            strong = self.parts.perturb(strong, self._slots(strong), rng)
        return _Pool(mean, std, weight, strong, partner)

    def _dropped(self, strong: Tensor) -> Tensor:
        """Zero some colour planes of the strong frames [B, T, C, H, W]."""
        if not self.parts.channel_drop:
            return strong
        groups = [range(strong.shape[1])] if self.parts.drop_alike else self._slots(strong)
        return drop_channels(strong, self.parts.channel_drop, groups)

    def _mask(self, frames: Tensor, share: float, rng: np.random.Generator) -> Tensor:
        """Draw which pixels stay own, bool [T, 1, H, W]: one mask a group, the same on every rank."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        time, _, height, width = frames.shape[1:]
        masks = torch.empty(time, 1, height, width, dtype=torch.bool)
        for group in self._slots(frames):
            masks[list(group), 0] = token_mask(height, width, share, generator)
        return masks

    def _unlabelled(self, logits: Sequence[Tensor], pool: _Pool | None, share: float) -> tuple[Tensor, Tensor]:
        """Return the loss of the strong views and that of the mixed ones."""
        zero = logits[0].sum() * 0
        if pool is None:
            return zero, zero
        every = torch.ones(len(pool.mean), dtype=torch.bool, device=pool.mean.device)
        losses = self.parts.distance(logits[1], self.parts.target(pool.mean))
        agreement, mixing = global_mean(pool.weight * losses, every), self.parts.mixing
        if mixing is None:
            return agreement, zero
        target, weight = (
            share * x + (1 - share) * rows_of(x, pool.partner) for x in (mixing.target(pool.mean), pool.weight)
        )
        answer = logits[2] if mixing.logits else logits[2].softmax(dim=1)
        apart = (answer - target).square().mean(dim=1)
        return agreement, mixing.weight * global_mean(apart * weight if mixing.weighted else apart, every)


def squared_distance(logits: Tensor, target: Tensor) -> Tensor:
    """Mean Teacher: mean_c (softmax(logits) - target)^2, [N, C] -> [N]."""
    return (logits.softmax(dim=1) - target).square().mean(dim=1)


def _told(pool: _Pool | None, like: Tensor) -> dict[str, Tensor]:
    """Say what the teacher believes: mean weight, confidence and spread of its labels."""
    names = ("train/weight", "train/confidence", "train/spread")
    if pool is None:
        return dict.fromkeys(names, torch.zeros_like(like))
    every = torch.ones(len(pool.mean), dtype=torch.bool, device=pool.mean.device)
    best, label = pool.mean.max(dim=1)
    spread = pool.std.gather(1, label[:, None])[:, 0]
    return {name: global_mean(x, every) for name, x in zip(names, (pool.weight, best, spread), strict=True)}
