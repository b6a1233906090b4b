"""Metrics: each clip once, present classes only, average precision against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from finepseudo.evaluation.metrics import (
    average_precision,
    balanced_pairs,
    classification_metrics,
    pseudo_label_metrics,
)
from finepseudo.methods.finepseudo import FINEPSEUDO, FinePseudoConfig
from finepseudo.methods.labelling import label_pool
from shards.errors import UserError
from tests.finepseudo.batches import random_table

CLASSES = ["a", "b", "c"]


def test_accuracy_counts_each_clip_once_and_present_classes_only():
    keys = ["x", "y", "z", "x", "w"]
    probs = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.9, 0], [0, 1, 0], [np.nan] * 3])
    found = classification_metrics(keys, [0, 0, 1, 0, 1], probs, CLASSES)
    assert (found["n"], found["n_invalid"], found["top1"], found["mean_class"]) == (3, 1, 1.0, 1.0)
    assert found["confusion"] == [[2, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert found["per_class"][2] == {"class": "c", "n": 0, "accuracy": None}


def test_mean_class_and_top5():
    generator = np.random.default_rng(0)
    labels = np.array([0] * 6 + [1] * 2 + [2] * 2 + [5] * 2)
    probs = generator.dirichlet(np.ones(8), len(labels))
    found = classification_metrics([str(i) for i in range(12)], labels, probs, list("abcdefgh"))
    right = probs.argmax(1) == labels
    assert found["top1"] == pytest.approx(right.mean())
    assert found["mean_class"] == pytest.approx(np.mean([right[labels == c].mean() for c in (0, 1, 2, 5)]))
    ranks = (probs > probs[np.arange(12), labels][:, None]).sum(1)
    assert found["top5"] == pytest.approx((ranks < 5).mean())


def test_no_clip_and_no_label():
    assert classification_metrics([], [], np.zeros((0, 3)), CLASSES)["top1"] is None
    with pytest.raises(UserError, match="test clips need one"):
        classification_metrics(["a"], [-1], np.ones((1, 3)), CLASSES)


def test_pseudo_label_metrics_look_truth_up_by_key():
    keys, scores, p_e = random_table(clips=30, classes=3)
    table = label_pool(FINEPSEUDO, FinePseudoConfig(theta=0.5), keys, scores, p_e, np.zeros(30), np.ones(30, bool))
    truth = {key: i % 3 for i, key in enumerate(reversed(keys))}
    truth[keys[0]] = -1
    found = pseudo_label_metrics(table, truth, CLASSES)
    rows = [row for row in table.to_pylist() if row["accepted"]]
    known = [row for row in rows if truth[row["key"]] >= 0]
    assert found["accepted"] == len(rows) and found["coverage"] == pytest.approx(len(rows) / 30)
    for name, vote in (("precision", "label"), ("precision_A", "label_A"), ("precision_E", "label_E")):
        assert found[name] == pytest.approx(np.mean([row[vote] == truth[row["key"]] for row in known]))
    assert sum(c["accepted"] for c in found["per_class"]) == len(rows)
    with pytest.raises(UserError, match="not in the clip table"):
        pseudo_label_metrics(table, {}, CLASSES)


def test_labels_of_novel_classes_are_wrong_and_counted():
    keys, scores, p_e = random_table(clips=30, classes=3)
    table = label_pool(FINEPSEUDO, FinePseudoConfig(theta=0.5), keys, scores, p_e, np.zeros(30), np.ones(30, bool))
    truth = {key: i % 5 for i, key in enumerate(keys)}  # 3 and 4 are novel
    found = pseudo_label_metrics(table, truth, CLASSES)
    rows = table.to_pylist()
    novel = [row["accepted"] for row in rows if truth[row["key"]] >= 3]
    assert (found["novel"], found["novel_acceptance"]) == (12, pytest.approx(np.mean(novel)))
    assert 0 < sum(novel) < 12
    right = [row["label"] == truth[row["key"]] for row in rows if row["accepted"]]
    assert found["precision"] == pytest.approx(np.mean(right))
    assert len(found["per_class"]) == 3
    assert pseudo_label_metrics(table, dict.fromkeys(keys, 0), CLASSES)["novel_acceptance"] is None


def test_precision_is_none_when_nothing_is_accepted():
    table = label_pool(FINEPSEUDO, FinePseudoConfig(), ["a"], np.zeros((1, 3)), np.ones((1, 3)) / 3, [0.0], [True])
    found = pseudo_label_metrics(table, {"a": 0}, CLASSES)
    assert (found["accepted"], found["precision"], found["precision_A"]) == (0, None, None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_average_precision_is_sklearns_ties_included(rows):
    scores, wanted = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    if wanted.any():
        assert average_precision(scores, wanted) == pytest.approx(average_precision_score(wanted, scores))
    else:
        assert np.isnan(average_precision(scores, wanted))


def test_balanced_pairs():
    labels = np.repeat([0, 1, 2], 5)
    i, j, same = balanced_pairs(labels, seed=0, limit=20)
    assert len(i) == 40 and same.sum() == 20 and (i < j).all()
    np.testing.assert_array_equal(same.astype(bool), labels[i] == labels[j])
    assert len(set(zip(i, j, strict=True))) == 40
