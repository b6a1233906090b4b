from __future__ import annotations

import pytest
import torch
from torch import nn

from finepseudo.consistency.passes import dropout_passes, dropping


def head() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3)).eval()


def test_head_passes_equal_full_passes_under_the_same_draws() -> None:
    backbone, last = nn.Linear(4, 6), head()
    clips = torch.randn(5, 4)
    with dropping(last):
        torch.manual_seed(7)
        mean, std = dropout_passes(backbone(clips), last, 10)
        torch.manual_seed(7)
        full = last(backbone(clips.repeat(10, 1))).softmax(1).view(10, 5, 3)
    torch.testing.assert_close(mean, full.mean(0).detach())
    torch.testing.assert_close(std, full.std(0).detach())
    assert not mean.requires_grad


def test_one_pass_and_none() -> None:
    mean, std = dropout_passes(torch.randn(4, 6), head(), 1)
    assert std.abs().sum() == 0
    torch.testing.assert_close(mean.sum(1), torch.ones(4))
    with pytest.raises(ValueError, match="passes 0 must be at least 1"):
        dropout_passes(torch.randn(4, 6), head(), 0)


def test_dropping_switches_dropout_alone_and_back() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    with dropping(model):
        assert [layer.training for layer in model] == [False, True]
    assert [layer.training for layer in model] == [False, False]
