"""Pooling with a deterministic gradient, against torch's own pools."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from finepseudo.encoders.pooling import bin_means


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_bins_are_those_of_adaptive_average_pooling(bins: int, length: int, seed: int) -> None:
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(bin_means(x, bins, 2), F.adaptive_avg_pool1d(x, bins))


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_two_dimensions_one_after_the_other(size: int) -> None:
    x = torch.randn(2, 5, size, size + 1)
    torch.testing.assert_close(bin_means(bin_means(x, 3, 2), 3, 3), F.adaptive_avg_pool2d(x, 3))
