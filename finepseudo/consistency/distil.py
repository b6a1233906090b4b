"""TimeBalance's student: it learns labels, and what two frozen teachers say, mixed clip by clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from finepseudo.consistency.objective import squared_distance
from finepseudo.consistency.side import ByKey
from finepseudo.consistency.teacher import Frozen
from finepseudo.distributed import global_mean, widened
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import Batches, Objective, StepOutput, supervised

UNKNOWN = 0.5
"""s of a clip whose parts could not be read: both teachers count alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Of the squared distance to the teachers, a mean over classes, on labelled and on unlabelled clips."""

    labelled: float
    unlabelled: float


class BalancedObjective(Objective):
    """L = CE + labelled * MSE(softmax, q) + unlabelled * MSE(softmax, q), q = s f_I + (1 - s) f_D.

    s is the temporal self-similarity of the clip: where its parts look alike, the temporally-invariant teacher f_I is
    believed, where they differ the temporally-distinctive one, f_D.
    """

    def __init__(
        self,
        encoder: ActionEncoder,
        teachers: tuple[ActionEncoder, ActionEncoder],
        similarity: ByKey,
        cfg: CrossEntropyConfig,
        weights: Weights,
    ) -> None:
        """Train `encoder`; teachers: f_I, f_D."""
        super().__init__()
        self.encoder, self.cfg, self.weights, self.similarity = encoder, cfg, weights, similarity
        self.invariant, self.distinctive = map(Frozen, teachers)

    def forward(self, batches: Batches) -> StepOutput:
        """Compute the loss of a labelled batch (first) and an unlabelled one; teachers see what the student sees."""
        labelled, unlabelled = (batch.sound() for batch in batches.values())
        frames = torch.cat([batch.frames[:, 0] for batch in (labelled, unlabelled)])
        sizes = [len(batch.keys) for batch in (labelled, unlabelled)]
        balance, target = self._taught(frames, (*labelled.keys, *unlabelled.keys))
        logits = widened(self.encoder(frames))
        apart = torch.split(squared_distance(logits, target), sizes)
        on_labels = supervised(logits[: sizes[0]], labelled.labels, self.cfg)
        terms = [on_labels, *(global_mean(x, _all(x)) for x in apart)]
        loss = terms[0] + self.weights.labelled * terms[1] + self.weights.unlabelled * terms[2]
        names = ("train/loss", "train/supervised", "train/labelled_agreement", "train/agreement")
        metrics = dict(zip(names, (loss, *terms), strict=True))
        metrics["train/similarity"] = global_mean(balance, _all(balance))
        return StepOutput(loss, {name: value.detach() for name, value in metrics.items()})

    def _taught(self, frames: Tensor, keys: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Return s [B] and the target q [B, C]."""
        invariant, distinctive = self.invariant(frames), self.distinctive(frames)
        rows, known = self.similarity.rows(keys, invariant)
        balance = torch.where(known, rows[:, 0], UNKNOWN)
        return balance, torch.lerp(distinctive, invariant, balance[:, None])


def _all(x: Tensor) -> Tensor:
    return torch.ones(len(x), dtype=torch.bool, device=x.device)
