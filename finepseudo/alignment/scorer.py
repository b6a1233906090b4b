"""Metric learning of f_A: triplets over the batch (eq. 2), the alignability score f_S (eq. 3) and L_AV (eq. 5).

Shapes: B clips of the global batch, D[i, j] = soft-DTW distance of clips i and j (eq. 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.alignment.config import Mining, Norm, ScorerConfig
from finepseudo.distributed import widened

SPREAD, LEAST = 0.01, 0.001
"""Distances spread by this share of their mean, and by so much, at least: those of a first batch may be all alike."""
SMALLEST = 1e-6
"""Of D/T where S is exp(-D/T): soft-DTW of equal clips is a little below 0, and S must stay below 1."""


class AlignabilityScorer(nn.Module):
    """f_S (eq. 3): S = sigmoid(f_S(D)) in (0, 1), falling in D at the start; S = exp(-D/T) where it is not learned.

    Distances are standardised by running statistics (state_dict buffers), so that f_S starts in its useful range
    whatever the scale of the embeddings. Feed it D divided as cfg.norm says.
    """

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, cfg: ScorerConfig | None = None, *, learned: bool = True) -> None:
        """Start with S = sigmoid(-z) approximately, z the standardised distance, over z in [-3, 3].

        Without L_Score (Table 5, omega 0) nothing teaches f_S: `learned` False takes S = exp(-D/T), whatever cfg.norm.
        """
        super().__init__()
        self.learned = learned
        self.cfg = cfg or ScorerConfig()
        if not learned:
            self.cfg = replace(self.cfg, norm="T")
        self.first = nn.Linear(1, self.cfg.hidden)
        self.second = nn.Linear(self.cfg.hidden, 1)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._start_decreasing()
        self.requires_grad_(learned)

    @torch.no_grad()
    def _start_decreasing(self) -> None:
        """Pair hinges relu(z - k) falling and relu(-(z - k)) rising; each pair sums to -(z - k)."""
        pairs = self.cfg.hidden // 2
        knots = torch.linspace(-2, 2, pairs) if pairs > 1 else torch.zeros(1)
        self.first.weight.copy_(torch.cat([torch.ones(pairs), -torch.ones(pairs)])[:, None])
        self.first.bias.copy_(torch.cat([-knots, knots]))
        self.second.weight.copy_(torch.cat([-torch.ones(pairs), torch.ones(pairs)])[None] / pairs)
        self.second.bias.zero_()

    def undecayed(self) -> Iterable[nn.Parameter]:
        """Exempt all of it from weight decay: a slope that decays makes every score the same."""
        return self.parameters()

    @torch.no_grad()
    def observe(self, distances: Tensor, counted: Tensor | None = None) -> None:
        """Move the running statistics towards those of distances [...] (the same on every rank); the first set them.

        Only those with `counted` bool [...] True take part: count the two orders of a pair once, or two clips alone
        have a spread of 0. Fewer than two move nothing, nor do any where one is not finite.
        """
        values = widened(distances.detach())
        counted = torch.ones_like(values, dtype=torch.bool) if counted is None else counted
        count, nothing = counted.sum(), torch.zeros_like(values)
        mean = torch.where(counted, values, nothing).sum() / count.clamp(min=1)
        square = torch.where(counted, (values - mean).square(), nothing).sum()
        enough = (count > 1) & torch.isfinite(square)
        mean, square = (torch.where(enough, value, nothing.new_zeros(())) for value in (mean, square))
        weight = torch.where(self.seen == 0, 1.0, self.cfg.momentum).to(self.mean) * enough
        self.mean.lerp_(mean.to(self.mean), weight)
        self.variance.lerp_((square / (count - 1).clamp(min=1)).to(self.variance), weight)
        self.seen += enough

    def logits(self, distances: Tensor) -> Tensor:
        """Map distances [...] to logits [...] of S."""
        if not self.learned:
            positive = widened(distances).clamp(min=SMALLEST)
            return -positive - torch.log(-torch.expm1(-positive))
        z = (widened(distances) - self.mean) / (self.variance + (SPREAD * self.mean).square() + LEAST**2).sqrt()
        hidden = torch.relu(self.first(z.unsqueeze(-1)))
        logits: Tensor = self.second(hidden).squeeze(-1)
        return logits

    def forward(self, distances: Tensor) -> Tensor:
        """Map distances [...] to alignability S [...] in (0, 1)."""
        return self.logits(distances).sigmoid()


def length_factor(length: int, norm: Norm) -> float:
    """Return what a distance of clips of `length` frames is divided by."""
    return {"none": 1.0, "T": float(length), "2T": 2.0 * length}[norm]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Ordered pairs [B, B] of one class and of two; the diagonal and unusable clips are in neither."""

    same: Tensor
    different: Tensor

    @staticmethod
    def of(labels: Tensor, usable: Tensor) -> Pairs:
        """Sort the pairs of clips with labels [B] (negative = none) and usable [B]."""
        known = usable & (labels >= 0)
        both = known[:, None] & known[None, :]
        equal = labels[:, None] == labels[None, :]
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        return Pairs(both & equal & ~own, both & ~equal)


def triplet_loss(distances: Tensor, pairs: Pairs, margin: float, mining: Mining) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. (2) over D [B, B]: hinge of D(anchor, positive) - D(anchor, negative) + margin.

    Positives are all same-class pairs. `all` averages every triplet, easy ones (hinge 0) included; `hard` averages the
    active ones; `hardest` takes each anchor's nearest negative and averages the active ones.
    Returns the loss, the mined negative pairs bool [B, B] and the share of candidate triplets that are active.
    """
    negatives = _nearest(distances, pairs.different) if mining == "hardest" else pairs.different
    hinge = distances[:, :, None] - distances[:, None, :] + margin
    candidates = pairs.same[:, :, None] & negatives[:, None, :]
    active = candidates & (hinge > 0)
    counted = candidates if mining == "all" else active
    loss = torch.where(active, hinge, torch.zeros_like(hinge)).sum() / counted.sum().clamp(min=1)
    return loss, counted.any(1), active.sum() / candidates.sum().clamp(min=1)


def _nearest(distances: Tensor, different: Tensor) -> Tensor:
    """Mark each anchor's nearest clip of another class, bool [B, B]."""
    far = distances.detach().masked_fill(~different, torch.inf)
    nearest = F.one_hot(far.argmin(1), len(far)).bool()
    return nearest & different


def score_loss(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Eq. (4) over logits [B, B] of S: cross-entropy averaged over positive and over negative pairs, then halved.

    Balancing is open in the paper; without it negatives outnumber positives up to 94 to 1 and S falls to that prior.
    """
    sides = []
    for wanted, loss in ((positive, F.softplus(-logits)), (negative, F.softplus(logits))):
        sides.append(torch.where(wanted, loss, torch.zeros_like(loss)).sum() / wanted.sum().clamp(min=1))
    return (sides[0] + sides[1]) / 2
