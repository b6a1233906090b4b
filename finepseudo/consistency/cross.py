"""CMPL: two networks side by side, each of which labels the pool for the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from finepseudo.consistency.names import STRONG, WEAK
from finepseudo.consistency.network import own_labels
from finepseudo.consistency.stepped import Stepped
from finepseudo.consistency.targets import hard, soft_cross_entropy
from finepseudo.consistency.weighters import Weighter
from finepseudo.distributed import global_mean, widened
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import Batches, StepOutput, supervised


class CrossObjective(Stepped):
    """Trains `encoder`, which is tested, and `auxiliary` beside it.

    L = L_CE(both) + ramp (H(encoder's strong view, auxiliary's label) + H(auxiliary's strong view, encoder's label)),
    a label being the argmax of the weak view, weighed by how far its labeller is sure. Means are over all valid clips.
    """

    def __init__(
        self,
        encoder: ActionEncoder,
        auxiliary: ActionEncoder,
        cfg: CrossEntropyConfig,
        weighter: Weighter,
        ramp: Callable[[int], float],
    ) -> None:
        """Train both; ramp: optimiser steps done -> weight of the unlabelled loss, 0 = the step reads labels alone."""
        super().__init__(seed=0)  # nothing is drawn
        self.encoder, self.auxiliary, self.cfg = encoder, auxiliary, cfg
        self.weighter, self.ramp = weighter, ramp

    def forward(self, batches: Batches) -> StepOutput:
        """Compute the loss of a labelled batch (first) and of the pool's views `weak` and `strong`."""
        labelled, pool = (batch.sound() for batch in batches.values())
        ramp, networks = self.ramp(self.done), (self.encoder, self.auxiliary)
        seen = [labelled.frames[:, 0]]
        if ramp > 0:
            said = [own_labels(network, pool.views[WEAK].frames[:, 0]) for network in networks]
            seen.append(pool.views[STRONG].frames[:, 0])
        answers = [widened(network(torch.cat(seen))) for network in networks]
        count = len(labelled.keys)
        own = [supervised(answer[:count], labelled.labels, self.cfg) for answer in answers]
        cross = [answer.sum() * 0 for answer in answers]
        if ramp > 0:
            cross = [self._taught(answers[0][count:], said[1]), self._taught(answers[1][count:], said[0])]
        loss = sum(own, ramp * sum(cross, torch.zeros_like(own[0])))
        metrics = {"loss": loss, "supervised": own[0], "supervised_auxiliary": own[1]}
        metrics |= {"agreement": cross[0], "agreement_auxiliary": cross[1], "ramp": torch.full_like(loss, ramp)}
        return StepOutput(loss, {f"train/{name}": value.detach() for name, value in metrics.items()})

    def _taught(self, logits: Tensor, said: Tensor) -> Tensor:
        """Give the loss of one network's strong views [N, C] by the other's probabilities [N, C]."""
        weight = self.weighter(said, torch.zeros_like(said), said.argmax(dim=1))
        every = torch.ones(len(said), dtype=torch.bool, device=said.device)
        return global_mean(weight * soft_cross_entropy(logits, hard(said)), every)
