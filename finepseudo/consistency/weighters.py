"""How much a pseudo-label counts: `(mean, std, label) -> weight`.

mean: probabilities of the teacher [N, C], float32, the mean over its passes; std: their standard deviation over the
passes [N, C], 0 with one pass; label: the class taken as true [N]. The weight [N] lies in [0, 1] and has no gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from finepseudo.distributed import sum_across_ranks


class Weighter(Protocol):
    """Weighs pseudo-labels."""

    def __call__(self, mean: Tensor, std: Tensor, label: Tensor) -> Tensor:
        """Return the weight [N] of each label [N]."""
        ...


def of_label(values: Tensor, label: Tensor) -> Tensor:
    """Take the column of each row's label: [N, C] -> [N]."""
    return values.gather(1, label[:, None])[:, 0]


@dataclass(frozen=True, slots=True)
class Threshold:
    """FixMatch: 1 where the probability of the label is at least `tau`, else 0."""

    tau: float

    def __call__(self, mean: Tensor, std: Tensor, label: Tensor) -> Tensor:
        """Return 0 or 1 for each label."""
        del std
        return (of_label(mean, label) >= self.tau).to(mean.dtype)


@dataclass(frozen=True, slots=True)
class AdaptiveRegulation:
    """SeFAR: eta = eta_p eta_d of the label's mean probability p and its standard deviation d over the passes.

    eta_p = 2 sigmoid(exp(p) - e), eta_d = 2 (sigmoid(1 / (20 d + 1e-9)) - 1 / 2). Nothing is ever filtered: eta_p lies
    in [.304, 1], eta_d in (0, 1]. `least`: below this p the weight is 0 (the paper: 0, that is, never).
    """

    least: float = 0.0

    def __call__(self, mean: Tensor, std: Tensor, label: Tensor) -> Tensor:
        """Return eta of each label."""
        p, d = of_label(mean, label), of_label(std, label)
        eta_p = 2 * torch.sigmoid(torch.exp(p) - math.e)
        eta_d = 2 * (torch.sigmoid(1 / (20 * d + 1e-9)) - 0.5)
        return torch.where(p >= self.least, eta_p * eta_d, torch.zeros_like(p))


@dataclass(frozen=True, slots=True)
class LowUncertainty:
    """UPS (Rizve et al., ICLR 2021): 1 where the probability is at least `theta` and its deviation below `kappa`."""

    theta: float = 0.7
    kappa: float = 0.05

    def __call__(self, mean: Tensor, std: Tensor, label: Tensor) -> Tensor:
        """Return 0 or 1 for each label."""
        sure = (of_label(mean, label) >= self.theta) & (of_label(std, label) < self.kappa)
        return sure.to(mean.dtype)


class SoftMatch(nn.Module):
    """SoftMatch (Chen et al., ICLR 2023): a Gaussian of the confidence, cut off at its running mean.

    With running mean mu and variance s2 of the highest probability over all ranks' batches:
    weight = exp(-n^2 (p - mu)^2 / (2 s2)) below mu, 1 from mu on.
    """

    mu: Tensor
    variance: Tensor

    def __init__(self, classes: int, momentum: float = 0.999, sigmas: float = 2.0) -> None:
        """Start as without knowledge: mu = 1 / C, variance 1."""
        super().__init__()
        self.momentum, self.sigmas = momentum, sigmas
        self.register_buffer("mu", torch.tensor(1.0 / classes))
        self.register_buffer("variance", torch.tensor(1.0))

    def forward(self, mean: Tensor, std: Tensor, label: Tensor) -> Tensor:
        """Take the batch into the running statistics (while training), then weigh its labels."""
        del std
        if self.training:
            self._observe(mean.max(dim=1).values)
        below = (of_label(mean, label) - self.mu).clamp(max=0.0)
        return torch.exp(-((self.sigmas * below) ** 2) / (2 * self.variance))

    @torch.no_grad()
    def _observe(self, highest: Tensor) -> None:
        count = sum_across_ranks(highest.new_tensor(float(len(highest))))
        total = sum_across_ranks(highest.sum())
        centre = total / count.clamp(min=1)
        spread = sum_across_ranks(((highest - centre) ** 2).sum()) / (count - 1).clamp(min=1)
        kept = torch.where(count > 0, self.momentum, 1.0)  # a batch without clips teaches nothing
        self.mu.lerp_(centre, 1 - kept)
        self.variance.lerp_(spread, 1 - kept)


class FreeMatch(nn.Module):
    """FreeMatch (Wang et al., ICLR 2023): a threshold that follows the model's confidence, globally and by class.

    Global bar: running mean of the highest probability; that of class c is scaled by p_c / max p, p the running mean of
    the probabilities. Over all ranks' batches.
    """

    bar: Tensor
    by_class: Tensor

    def __init__(self, classes: int, momentum: float = 0.999) -> None:
        """Start as without knowledge: both are 1 / C."""
        super().__init__()
        self.momentum = momentum
        self.register_buffer("bar", torch.tensor(1.0 / classes))
        self.register_buffer("by_class", torch.full((classes,), 1.0 / classes))

    def forward(self, mean: Tensor, std: Tensor, label: Tensor) -> Tensor:
        """Take the batch into the running statistics (while training), then return 0 or 1 for each label."""
        del std
        if self.training:
            self._observe(mean)
        bars = self.bar * self.by_class / self.by_class.max()
        return (of_label(mean, label) >= bars[label]).to(mean.dtype)

    @torch.no_grad()
    def _observe(self, mean: Tensor) -> None:
        count = sum_across_ranks(mean.new_tensor(float(len(mean))))
        kept = torch.where(count > 0, self.momentum, 1.0)
        highest = mean.max(dim=1).values.sum() if len(mean) else mean.new_zeros(())
        self.bar.lerp_(sum_across_ranks(highest) / count.clamp(min=1), 1 - kept)
        self.by_class.lerp_(sum_across_ranks(mean.sum(dim=0)) / count.clamp(min=1), 1 - kept)
