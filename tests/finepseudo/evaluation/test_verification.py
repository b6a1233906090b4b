"""The study of pairs: which measure sees which difference, and what prevalence does."""

import numpy as np
import pytest
import torch

from finepseudo.evaluation.verification import verification_study
from finepseudo.soft_dtw import soft_dtw_pairwise


def study(embeddings, labels, seed=0):
    dtw = soft_dtw_pairwise(embeddings)
    return verification_study(embeddings, labels, dtw, torch.exp(-dtw), seed)


def moved(phases, at):
    """A clip whose phases change at other frames."""
    places = np.searchsorted(at, np.arange(12), side="right")
    return torch.eye(3)[torch.tensor(phases)[torch.from_numpy(places)]]


def test_order_is_seen_by_what_keeps_time_alone():
    """Two classes of the same phases in another order; pace differs from clip to clip."""
    paces = [(2, 6), (4, 8), (6, 10), (3, 9), (5, 7), (2, 10)]
    clips = [moved(order, at) for order in ([0, 1, 2], [2, 1, 0]) for at in paces]
    found = study(torch.stack(clips), [0] * 6 + [1] * 6)
    assert found["dtw"]["balanced"] == pytest.approx(1)
    assert found["score"] == found["dtw"], "S falls in D"
    assert found["pooled"]["balanced"] < 0.8
    assert found["pooled"]["balanced"] < found["framewise"]["balanced"] <= 1


def test_a_measure_that_knows_nothing_is_right_as_often_as_pairs_are_of_one_class():
    torch.manual_seed(0)
    labels = [index % 10 for index in range(100)]
    found = study(torch.randn(100, 2, 8), labels)
    assert found["pooled"]["balanced"] == pytest.approx(0.5, abs=0.1)
    assert found["pooled"]["natural"] == pytest.approx(10 * 45 / 4950, abs=0.05)


def test_there_is_nothing_to_tell_where_all_clips_are_alike():
    assert study(torch.randn(3, 2, 4), [1, 1, 1]) is None
    assert study(torch.randn(3, 2, 4), [0, 1, 2]) is None
