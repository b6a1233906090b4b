from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from finepseudo.consistency.weighters import (
    AdaptiveRegulation,
    FreeMatch,
    LowUncertainty,
    SoftMatch,
    Threshold,
    Weighter,
)


def two_classes(p: list[float], d: list[float] | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Clips whose label, class 0, has these probabilities and deviations."""
    first = torch.tensor(p)
    spread = torch.tensor(d or [0.0] * len(p))
    return torch.stack([first, 1 - first], 1), torch.stack([spread, spread], 1), torch.zeros(len(p), dtype=torch.long)


def test_eta_at_the_eight_points_of_the_paper() -> None:
    points = [(1, 0, 1), (0.9, 0.01, 0.8597), (0.9, 0.05, 0.4027), (0.7, 0.1, 0.1620)]
    points += [(0.5, 0.1, 0.1251), (0.3, 0.15, 0.0670), (0.1, 0.05, 0.1536), (0.01, 0.01, 0.3027)]
    p, d, eta = (list(column) for column in zip(*points, strict=True))
    torch.testing.assert_close(AdaptiveRegulation()(*two_classes(p, d)), torch.tensor(eta), atol=5e-5, rtol=0)


def test_eta_by_its_other_form() -> None:
    p, d = torch.rand(200), torch.rand(200) * 0.3 + 1e-3
    weight = AdaptiveRegulation()(*two_classes(p.tolist(), d.tolist()))
    expected = (1 + torch.tanh((p.exp() - math.e) / 2)) * torch.tanh(1 / (40 * d))
    torch.testing.assert_close(weight, expected, atol=1e-5, rtol=1e-4)
    least = AdaptiveRegulation(least=0.5)(*two_classes(p.tolist(), d.tolist()))
    assert torch.equal(least > 0, p >= 0.5)


def test_thresholds() -> None:
    assert Threshold(0.95)(*two_classes([0.94, 0.95, 1.0])).tolist() == [0, 1, 1]
    ups = LowUncertainty(theta=0.7, kappa=0.05)
    assert ups(*two_classes([0.69, 0.7, 0.9, 0.9], [0, 0.04, 0.05, 0.049])).tolist() == [0, 1, 0, 1]


def test_softmatch_is_a_gaussian_below_its_mean_and_1_above() -> None:
    weighter = SoftMatch(classes=2, momentum=0.5)
    p = [0.6, 0.7, 0.8, 0.9]
    weight = weighter(*two_classes(p))
    mu = 0.5 * 0.5 + 0.5 * 0.75
    variance = 0.5 * 1 + 0.5 * torch.tensor(p).var().item()
    expected = [math.exp(-((2 * min(q - mu, 0)) ** 2) / (2 * variance)) for q in p]
    assert weight.tolist() == pytest.approx(expected, rel=1e-5)
    before = {name: value.clone() for name, value in weighter.state_dict().items()}
    weighter.eval()(*two_classes([0.5]))
    weighter.train()(*(value[:0] for value in two_classes([0.5])))  # an empty batch teaches nothing
    assert all(torch.equal(value, before[name]) for name, value in weighter.state_dict().items())


def test_freematch_asks_more_of_classes_that_are_predicted_often() -> None:
    weighter = FreeMatch(classes=2, momentum=0.0)
    mean, std, _ = two_classes([0.9, 0.9, 0.9, 0.2])
    weight = weighter(mean, std, torch.tensor([0, 0, 0, 1]))
    assert weighter.bar.item() == pytest.approx((3 * 0.9 + 0.8) / 4)
    assert weighter.by_class.tolist() == pytest.approx([2.9 / 4, 1.1 / 4])
    assert weight.tolist() == [1, 1, 1, 1]
    weighter.eval()
    assert weighter(*two_classes([0.8]))[0] == 0  # .875 is asked of class 0
    assert weighter(torch.tensor([[0.6, 0.4]]), torch.zeros(1, 2), torch.tensor([1]))[0] == 1  # .33 of class 1


@pytest.mark.parametrize(
    "weighter", [Threshold(0.5), AdaptiveRegulation(), LowUncertainty(), SoftMatch(2), FreeMatch(2)]
)
def test_weights_lie_in_0_to_1(weighter: Weighter) -> None:
    weight = weighter(*two_classes(torch.rand(50).tolist(), (torch.rand(50) / 4).tolist()))
    assert weight.shape == (50,)
    assert bool(((weight >= 0) & (weight <= 1)).all())
