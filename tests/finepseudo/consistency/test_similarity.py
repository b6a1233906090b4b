"""Self-similarity of a video, and a video in parts."""

import math

import pytest
import torch

from finepseudo.consistency.parts import PARTS, parts_of, whole_of
from finepseudo.consistency.similarity import self_similarity
from shards.read.config import SamplingConfig, ViewConfig
from shards.read.groups import long_view


def test_it_is_the_mean_cosine_of_the_pairs():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 4, 7, generator=generator).abs()
    for row, found in zip(features, self_similarity(features), strict=True):
        pairs = [(i, j) for i in range(4) for j in range(i)]
        cosines = [torch.dot(row[i], row[j]) / (row[i].norm() * row[j].norm()) for i, j in pairs]
        assert found == pytest.approx(float(sum(cosines)) / 6, abs=1e-6)


def test_it_is_clamped_and_knows_no_scale():
    still = torch.ones(1, 4, 3) * torch.tensor([1.0, 2.0, 5.0, 0.1])[:, None]
    opposed = torch.tensor([[[1.0], [-1.0], [1.0], [-1.0]]])
    turning = torch.tensor([[[math.cos(a), math.sin(a)] for a in (0.0, math.pi / 2)]])
    assert self_similarity(still).item() == pytest.approx(1)
    assert self_similarity(opposed).item() == 0
    assert self_similarity(turning).item() == pytest.approx(0, abs=1e-6)
    assert self_similarity(torch.randn(2, 1, 3)).tolist() == [1, 1]
    assert self_similarity(torch.randn(0, 4, 3)).shape == (0,)


def test_parts_are_quarters_in_order_and_the_whole_spans_them():
    frames = torch.arange(12.0).view(1, 12, 1, 1, 1)
    assert parts_of(frames).flatten(2).tolist() == [[[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]]
    assert whole_of(frames).flatten().tolist() == [2, 6, 10]
    assert parts_of(frames[:0]).shape == (0, 4, 3, 1, 1, 1)
    for policy in ("uniform", "dense"):
        view = long_view(ViewConfig(sampling=SamplingConfig(policy=policy, frames=3)), PARTS)
        assert (view.sampling.policy, view.frames) == ("uniform", 3 * PARTS)
