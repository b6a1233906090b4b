"""UPS: labels where there are some; of other clips, the classes that they surely are not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finepseudo.compute.networks import sent
from finepseudo.consistency.targets import negative_cross_entropy
from finepseudo.distributed import global_mean, widened
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import Batches, Objective, StepOutput, supervised


class RuledOutObjective(Objective):
    """Cross-entropy of a labelled batch (first) and negative cross-entropy of one without labels, in one forward."""

    def __init__(
        self,
        encoder: ActionEncoder,
        cfg: CrossEntropyConfig,
        negative: Mapping[str, npt.NDArray[np.bool_]],
        weight: float = 1.0,
    ) -> None:
        """Train `encoder`; negative: the classes [C] that each clip of the second stream surely is not, by its key."""
        super().__init__()
        self.encoder, self.cfg, self.negative, self.weight = encoder, cfg, negative, weight

    def forward(self, batches: Batches) -> StepOutput:
        """Compute L_CE over labelled clips plus the weighted L_NCE over those with ruled-out classes, of all ranks."""
        labelled, other = (batch.sound() for batch in batches.values())
        logits = widened(self.encoder(torch.cat([labelled.frames[:, 0], other.frames[:, 0]])))
        answer, rest = logits[: len(labelled.keys)], logits[len(labelled.keys) :]
        positive, negative = supervised(answer, labelled.labels, self.cfg), self._negative(other.keys, rest)
        loss = positive + self.weight * negative
        accuracy = global_mean((answer.argmax(-1) == labelled.labels).float(), labelled.labels >= 0)
        metrics = {"loss": loss, "supervised": positive, "negative": negative, "accuracy": accuracy}
        return StepOutput(loss, {f"train/{name}": value.detach() for name, value in metrics.items()})

    def _negative(self, keys: tuple[str, ...], logits: Tensor) -> Tensor:
        rows = [self.negative[key] for key in keys]
        negative = sent(torch.from_numpy(np.array(rows, dtype=bool).reshape(logits.shape)), logits.device)
        return global_mean(negative_cross_entropy(logits, negative), negative.any(dim=1))
