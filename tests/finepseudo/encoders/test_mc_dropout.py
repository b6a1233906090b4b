"""MC-dropout over features that were computed once."""

from __future__ import annotations

import torch
from torch import nn

from finepseudo.encoders.mc_dropout import DropoutLogits


def said(dropout: float = 0.3, passes: int = 6) -> DropoutLogits:
    torch.manual_seed(0)
    return DropoutLogits.of(torch.randn(4, 8), nn.Linear(8, 3), passes=passes, dropout=dropout, seed=5)


def test_every_pass_is_the_layer_behind_its_mask():
    torch.manual_seed(0)
    features, layer = torch.randn(4, 8), nn.Linear(8, 3)
    found = DropoutLogits.of(features, layer, passes=6, dropout=0.3, seed=5)
    kept = torch.rand(6, 8, generator=torch.Generator().manual_seed(5)) >= 0.3
    torch.testing.assert_close(found.logits, layer(features))
    for logits, mask in zip(found.passes, kept, strict=True):
        torch.testing.assert_close(logits, layer(torch.where(mask, features / 0.7, torch.zeros(()))))


def test_statistics_are_those_of_tempered_passes():
    found = said()
    mean, std = found.statistics(2.0)
    each = torch.stack([(logits / 2).softmax(1) for logits in found.passes])
    torch.testing.assert_close(mean, each.sum(0) / 6)
    torch.testing.assert_close(std, (((each - mean) ** 2).sum(0) / 5).sqrt())
    assert (mean.max(1).values < found.statistics()[0].max(1).values).all(), "a temperature above 1 flattens"
    p, spread = found.prediction()
    torch.testing.assert_close(p, found.logits.softmax(1))
    torch.testing.assert_close(spread, found.statistics()[1][range(4), p.argmax(1)])


def test_without_dropout_no_pass_differs():
    assert said(dropout=0.0).statistics()[1].abs().max() < 1e-6
