"""Two networks on one clip, one of colours and one of what changes from frame to frame (TG-FixMatch, LTG)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.consistency import targets
from finepseudo.consistency.names import STRONG, WEAK
from finepseudo.consistency.network import classify
from finepseudo.consistency.weighters import Threshold
from finepseudo.distributed import global_mean, widened
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.encoders.stages import watched
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.contrast import nt_xent_across_ranks, projector
from finepseudo.training.objectives import Batches, CrossEntropyObjective, Objective, StepOutput, single, supervised
from shards.types import View


def temporal_gradient(frames: Tensor) -> Tensor:
    """Return x[t + 1] - x[t] of frames [.., T, C, H, W], the last one twice, so that there are T: the same shape."""
    if frames.shape[-4] < 2:
        return torch.zeros_like(frames)
    change = frames.diff(dim=-4)
    return torch.cat([change, change[..., -1:, :, :, :]], dim=-4)


class ChangeObjective(CrossEntropyObjective):
    """Training of the second network on the labels, by what changes from frame to frame."""

    def forward(self, batches: Batches) -> StepOutput:
        """Compute L_CE as ever, of temporal gradients."""
        batch = single(batches)
        views = {name: View(temporal_gradient(v.frames), v.frame_ids) for name, v in batch.views.items()}
        return super().forward({"labelled": replace(batch, views=views)})


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoStream:
    """tau: least confidence of the averaged prediction that counts; weights of the losses; temperature: of contrast."""

    tau: float
    agreement: float
    alignment: float
    contrast: float
    temperature: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one network says of the labelled, the weak and the strong clips: logits [.., C].

    plain: of the weak ones without dropout and without gradient; features, stages: of the weak ones.
    """

    labelled: Tensor
    strong: Tensor
    plain: Tensor
    features: Tensor
    stages: Sequence[Tensor]


class TwoStreamObjective(Objective):
    """FixMatch of two networks whose weak predictions are averaged to one label; one learns inside from the other.

    L = L_sup(both) + agreement CE(strong)(both) + alignment mean_i (1 - cos(stage_i, sg(stage_i of changes)))
    + contrast NT-Xent(colours, changes of one clip). Alignment and contrast are of weak views alone. `encoder`, the one
    of colours, is what is tested.
    """

    def __init__(
        self, encoder: ActionEncoder, change: ActionEncoder, cfg: CrossEntropyConfig, parts: TwoStream
    ) -> None:
        """Train `encoder`, `change` and a projection head of each; their weights are not shared."""
        super().__init__()
        self.encoder, self.change, self.cfg, self.parts = encoder, change, cfg, parts
        self.heads = nn.ModuleList([projector(network.width) for network in (encoder, change)])

    def forward(self, batches: Batches) -> StepOutput:
        """Compute the loss of a labelled batch (first) and of the unlabelled one with views `weak` and `strong`."""
        labelled, pool = (batch.sound() for batch in batches.values())
        slots = len(list(batches.values())[1].keys)
        frames = [labelled.frames[:, 0], *(pool.views[name].frames[:, 0] for name in (WEAK, STRONG))]
        sizes, together = [len(part) for part in frames], torch.cat(frames)
        both = (self._seen(self.encoder, together, sizes), self._seen(self.change, temporal_gradient(together), sizes))
        mean = torch.stack([seen.plain.softmax(dim=1) for seen in both]).mean(dim=0)
        weight, every = self._weight(mean), torch.ones(len(mean), dtype=torch.bool, device=mean.device)
        target = targets.hard(mean)
        agreement = [targets.soft_cross_entropy(seen.strong, target) for seen in both]
        terms = {
            "supervised": sum_of(supervised(seen.labelled, labelled.labels, self.cfg) for seen in both),
            "agreement": self.parts.agreement * sum_of(global_mean(weight * losses, every) for losses in agreement),
            "alignment": self.parts.alignment * global_mean(aligned(*both), every),
            "contrast": self.parts.contrast * self._contrast(both, slots),
        }
        loss = sum_of(terms.values())
        told = {"weight": weight, "confidence": mean.max(dim=1).values}
        metrics = {"loss": loss, **terms, **{name: global_mean(x, every) for name, x in told.items()}}
        return StepOutput(loss, {f"train/{name}": value.detach() for name, value in metrics.items()})

    def _seen(self, network: ActionEncoder, frames: Tensor, sizes: Sequence[int]) -> _Seen:
        stages: list[Tensor] = []
        with ExitStack() as stack:
            if self.parts.alignment:
                stages = stack.enter_context(watched(network))
            features = network.features(frames)
        labelled, weak, strong = torch.split(features, list(sizes))
        with torch.no_grad():
            plain = widened(network.fc(weak))
        told = [widened(classify(network, part)) for part in (labelled, strong)]
        return _Seen(told[0], told[1], plain, weak, [torch.split(stage, list(sizes))[1] for stage in stages])

    def _weight(self, mean: Tensor) -> Tensor:
        return Threshold(self.parts.tau)(mean, torch.zeros_like(mean), mean.argmax(dim=1))

    def _contrast(self, both: tuple[_Seen, _Seen], slots: int) -> Tensor:
        one, two = (head(seen.features) for head, seen in zip(self.heads, both, strict=True))
        return nt_xent_across_ranks(one, two, slots, self.parts.temperature)


def aligned(colour: _Seen, change: _Seen) -> Tensor:
    """Return 1 - cosine of the features over time of colours and of changes, the mean over times and stages, [B]."""
    pairs = zip(colour.stages, change.stages, strict=True)
    cosines = [F.cosine_similarity(one, other.detach(), dim=-1).mean(dim=1) for one, other in pairs]
    return 1 - torch.stack(cosines).mean(dim=0) if cosines else colour.plain.sum(dim=1) * 0


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    """Add scalars."""
    return torch.stack(list(terms)).sum()
