"""ActorCutMix: the persons of one clip on the scene of another, and the label that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from finepseudo.compute.networks import sent
from finepseudo.consistency.boxes import Boxes
from finepseudo.consistency.mixers import actor_weight, box_mask, mix, partner_rows
from finepseudo.consistency.names import STRONG, WEAK
from finepseudo.consistency.network import Network, own_labels
from finepseudo.consistency.stepped import Stepped
from finepseudo.consistency.targets import soft_cross_entropy
from finepseudo.consistency.weighters import Weighter
from finepseudo.distributed import global_mean, widened
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import Batches, StepOutput, supervised
from shards.types import ClipBatch, rows_of


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorParts:
    """What the method chooses.

    cut: probability that a step pastes actors in place of the strong view, drawn once for all clips; target: the
    student's own probabilities -> what is taught; weighter: how far it is believed; ramp: as in `objective.Parts`.
    """

    boxes: Boxes
    cut: float
    weighter: Weighter
    target: Callable[[Tensor], Tensor]
    ramp: Callable[[int], float]


class ActorObjective(Stepped):
    """Trains `encoder` on labels and on its own labels of the weak view, from the strong view or from pasted actors."""

    def __init__(self, encoder: Network, cfg: CrossEntropyConfig, parts: ActorParts, seed: int) -> None:
        """Train `encoder`; what a step draws comes from `seed` and its number."""
        super().__init__(seed)
        self.encoder, self.cfg, self.parts = encoder, cfg, parts

    def forward(self, batches: Batches) -> StepOutput:
        """Compute the loss of a labelled batch (first) and of the pool's views `weak` and `strong`."""
        labelled, pool = (batch.sound() for batch in batches.values())
        ramp, seen = self.parts.ramp(self.done), [labelled.frames[:, 0]]
        if ramp > 0:
            partner = partner_rows(list(batches.values())[1].valid)
            shown, target, pasted = self._shown(pool, partner)
            seen.append(shown)
        answer, count = widened(self.encoder(torch.cat(seen))), len(labelled.keys)
        loss_of_labels = supervised(answer[:count], labelled.labels, self.cfg)
        agreement, share = answer.sum() * 0, torch.zeros_like(loss_of_labels)
        if ramp > 0:
            every = torch.ones(len(target), dtype=torch.bool, device=target.device)
            agreement = global_mean(soft_cross_entropy(answer[count:], target), every)
            share = global_mean(pasted.float(), every)
        loss = loss_of_labels + ramp * agreement
        metrics = {"loss": loss, "supervised": loss_of_labels, "agreement": agreement}
        metrics |= {"ramp": torch.full_like(loss, ramp), "pasted": share}
        return StepOutput(loss, {f"train/{name}": value.detach() for name, value in metrics.items()})

    def _shown(self, pool: ClipBatch, partner: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Give what the student sees of the pool, its weighted targets [N, C] and whether actors were pasted [N]."""
        weak, strong = (pool.views[name].frames[:, 0] for name in (WEAK, STRONG))
        said = own_labels(self.encoder, weak)
        weight = self.parts.weighter(said, torch.zeros_like(said), said.argmax(dim=1))
        target = weight[:, None] * self.parts.target(said)
        if not len(said) or np.random.default_rng((self.seed, self.done)).random() >= self.parts.cut:
            return strong, target, torch.zeros_like(weight, dtype=torch.bool)
        mask = self._actors(pool, weak)
        area = mask.flatten(1).float().mean(dim=1)
        apart = sent(torch.tensor([other != own for own, other in enumerate(partner)]), weak.device)
        pasted = apart & (area > 0) & (area < 1)  # nobody, or nothing but persons: the strong view as it is
        own = actor_weight(mask)[:, None]
        mixed = own * target + (1 - own) * rows_of(target, partner)
        shown = torch.where(pasted[:, None, None, None, None], mix(weak, rows_of(weak, partner), mask), strong)
        return shown, torch.where(pasted[:, None], mixed, target), pasted

    def _actors(self, pool: ClipBatch, weak: Tensor) -> Tensor:
        """Give where the actors are in the weak view, bool [N, T, 1, H, W]."""
        origin, (height, width) = pool.views[WEAK].origin, weak.shape[-2:]
        if origin is None:
            raise ValueError("boxes need the origin of a view; read it by shards.read")
        boxes = self.parts.boxes.of(pool.keys, origin, height, width)
        return box_mask(sent(boxes, weak.device), height, width)
