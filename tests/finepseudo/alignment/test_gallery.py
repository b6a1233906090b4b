"""The gallery: true labels only, R a class, redrawn a round, and the class score against plain loops."""

import numpy as np
import pytest
import torch

from finepseudo.alignment.gallery import build_gallery, choose_rows
from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.soft_dtw import class_alignability, soft_dtw_pairwise
from shards.errors import UserError


def test_rows_are_r_a_class_and_a_function_of_seed_and_round():
    labels = np.array([0] * 20 + [1] * 3 + [3] * 16)
    rows = choose_rows(labels, 4, 15, seed=1, round=0)
    assert np.bincount(labels[rows], minlength=4).tolist() == [15, 3, 0, 15]
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(rows, choose_rows(labels, 4, 15, seed=1, round=0))
    assert rows.tolist() != choose_rows(labels, 4, 15, seed=1, round=1).tolist()
    assert rows.tolist() != choose_rows(labels, 4, 15, seed=2, round=0).tolist()


def test_class_score_is_the_mean_score_of_the_class():
    torch.manual_seed(0)
    embeddings, u = torch.randn(7, 5, 6), torch.randn(3, 5, 6)
    labels = torch.tensor([0, 0, 0, 1, 1, 3, 3])
    scorer = AlignabilityScorer().eval()
    gallery = build_gallery(embeddings, labels, 4, seed=0, round=0)
    got = class_alignability(u, gallery, scorer, gamma=1e-3, normalize="T")
    assert got.shape == (3, 4)
    s = scorer(soft_dtw_pairwise(u, embeddings) / 5)
    for label in (0, 1, 3):
        torch.testing.assert_close(got[:, label], s[:, labels == label].mean(1), atol=1e-5, rtol=1e-5)
    assert (got[:, 2] == 0).all()


@pytest.mark.parametrize("labels", [[0, -1], [0, 2], []])
def test_anything_but_true_labels_is_refused(labels):
    with pytest.raises(UserError, match="gallery"):
        build_gallery(torch.rand(len(labels), 3, 2), labels, 2, seed=0, round=0)
