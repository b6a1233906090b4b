"""The votes of the methods (Table 6), fusion, confidence at many classes, and the alarm when nothing passes."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from finepseudo.methods.base import Passes, Votes
from finepseudo.methods.finepseudo import FINEPSEUDO, FinePseudoConfig
from finepseudo.methods.labelling import acceptance_alarm, label_pool
from finepseudo.methods.table import METHODS
from finepseudo.methods.voting import class_probabilities
from shards.errors import UserError
from tests.finepseudo.batches import random_table

VOTING = [name for name, method in METHODS.items() if method.vote]


def label(name="finepseudo", scores=None, p_e=None, spread=None, valid=None, **options):
    n, method = len(p_e), METHODS[name]
    spread = np.zeros(n) if spread is None else spread
    valid = np.ones(n, bool) if valid is None else valid
    keys = [f"k{i}" for i in range(n)]
    return label_pool(method, method.config(**options), keys, scores, p_e, spread, valid, said(p_e, spread)).to_pylist()


def said(p_e, spread):
    """Passes of MC-dropout that all say p_e and deviate by `spread`."""
    std = np.broadcast_to(spread[:, None], p_e.shape)
    return Passes(mean=p_e, std=std, tempered_mean=p_e, tempered_std=std)


@pytest.mark.parametrize(
    ("other", "expected"),
    [(0.3, {48: 0.896, 99: 0.805, 288: 0.584, 400: 0.503}), (0.5, {48: 0.537, 99: 0.358, 288: 0.160, 400: 0.120})],
)
def test_p_a_falls_with_the_number_of_classes(other, expected):
    for classes, value in expected.items():
        scores = np.full((1, classes), other)
        scores[0, 3] = 0.9
        assert class_probabilities(scores, 0.1)[0, 3] == pytest.approx(value, abs=1e-3)


def test_columns_follow_the_equations():
    keys, scores, p_e = random_table()
    spread = np.linspace(0, 0.2, 20)
    table = label_pool(FINEPSEUDO, FinePseudoConfig(), keys, scores, p_e, spread, np.ones(20, bool))
    p_a = np.exp(scores / 0.1) / np.exp(scores / 0.1).sum(1, keepdims=True)
    mean = (p_a + p_e) / 2
    np.testing.assert_allclose(np.stack(table["p_A"].to_numpy()), p_a, rtol=1e-5)
    np.testing.assert_allclose(np.stack(table["p"].to_numpy()), mean, rtol=1e-5)
    np.testing.assert_array_equal(table["label"].to_numpy(), mean.argmax(1))
    np.testing.assert_array_equal(table["label_A"].to_numpy(), scores.argmax(1))
    np.testing.assert_array_equal(table["label_E"].to_numpy(), p_e.argmax(1))
    np.testing.assert_allclose(table["confidence"].to_numpy(), mean.max(1), rtol=1e-6)
    np.testing.assert_array_equal(table["accepted"].to_numpy(zero_copy_only=False), mean.max(1) > 0.6)
    np.testing.assert_allclose(table["score_max"].to_numpy(), scores.max(1), rtol=1e-6)


def test_mean_lets_p_a_veto_and_sum_does_not():
    """A sure f_E and a flat p_A: by the mean refused, by the sum accepted, like all that p_E alone accepts."""
    flat, sure = np.full((1, 10), 0.5), np.eye(10)[:1]
    assert not label(scores=flat, p_e=sure)[0]["accepted"]
    assert label(scores=flat, p_e=sure, fuse="sum")[0]["accepted"]
    _, scores, p_e = random_table(clips=200)
    by_sum = label(scores=scores, p_e=p_e, fuse="sum")
    assert all(row["accepted"] for row in by_sum if row["p_E_max"] > 0.6)
    wide = label(scores=scores, p_e=p_e, fuse="sum", theta=1.2)
    assert [row["accepted"] for row in wide] == [row["accepted"] for row in label(scores=scores, p_e=p_e)]


@pytest.mark.parametrize("theta", [0.3, 0.6, 0.9])
def test_a_sum_against_twice_theta_accepts_what_the_mean_accepts(theta):
    _, scores, p_e = random_table(clips=200)
    by_mean = label(scores=scores, p_e=p_e, theta=theta)
    by_sum = label(scores=scores, p_e=p_e, theta=2 * theta, fuse="sum")
    assert [row["accepted"] for row in by_sum] == [row["accepted"] for row in by_mean]


def test_the_rows_of_table_6():
    scores = np.array([[0.9, 0.2], [0.5, 0.2], [0.9, 0.2]])
    p_e = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35]])
    spread = np.array([0.01, 0.2, 0.01])
    accepted = {s: [r["accepted"] for r in label(s, scores, p_e, spread)] for s in VOTING}
    assert accepted == {
        "pseudo_label": [True, True, True],
        "ups": [True, False, False],  # UPS: p >= .7 and spread < .05
        "verification": [True, False, True],  # S of the predicted class > .6
        "finepseudo": [True, True, True],
    }


def test_verification_looks_at_the_predicted_class():
    row = label("verification", np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]]))[0]
    assert row["label"] == 1 and not row["accepted"]


def test_invalid_rows_stay_unlabelled_and_rows_are_sorted():
    keys, scores, p_e = random_table(clips=4)
    scores[1] = p_e[1] = np.nan
    order = [2, 0, 3, 1]
    valid = np.array([True, False, True, True])
    cfg = FinePseudoConfig()
    table = label_pool(FINEPSEUDO, cfg, [keys[i] for i in order], scores[order], p_e[order], np.zeros(4), valid[order])
    assert table["key"].to_pylist() == keys
    assert table["valid"].to_pylist() == valid.tolist()
    bad = table.to_pylist()[1]
    assert (bad["label"], bad["label_A"], bad["label_E"], bad["accepted"]) == (-1, -1, -1, False)
    assert table.equals(label_pool(FINEPSEUDO, cfg, keys, scores, p_e, np.zeros(4), valid))


def test_scores_are_needed_only_where_used():
    _, _, p_e = random_table()
    row = label("pseudo_label", None, p_e)[0]
    assert np.isnan(row["p_A_max"]) and row["label_A"] == -1 and row["p_A"] == []
    for name in [name for name in VOTING if METHODS[name].aligns]:
        with pytest.raises(UserError, match=f"{name} needs alignability scores"):
            label(name, None, p_e)


def test_nothing_accepted_raises_an_alarm(caplog):
    """A collapsed f_S makes p_A uniform; then the mean accepts nothing, however sure f_E is (pitfall 6)."""
    with caplog.at_level(logging.WARNING):
        rows = label(scores=np.full((3, 8), 0.5), p_e=np.eye(8)[:3])
    assert not any(row["accepted"] for row in rows)
    assert "no pseudo-label accepted of 3 clips" in caplog.text and "lower method.finepseudo.theta" in caplog.text
    caplog.clear()
    keys, scores, p_e = random_table()
    table = label_pool(FINEPSEUDO, FinePseudoConfig(theta=0.1), keys, scores, p_e, np.zeros(20), np.ones(20, bool))
    assert acceptance_alarm(FINEPSEUDO, table) is None and not caplog.text


def test_refusals():
    keys, scores, p_e = random_table(clips=3)
    cfg, zero, ones = FinePseudoConfig(), np.zeros(3), np.ones(3, bool)
    with pytest.raises(UserError, match="occur twice, first a"):
        label_pool(FINEPSEUDO, cfg, ["a", "b", "a"], scores, p_e, zero, ones)
    with pytest.raises(UserError, match="tables differ"):
        label_pool(FINEPSEUDO, cfg, keys, scores[:, :2], p_e, zero, ones)
    with pytest.raises(UserError, match="NaN"):
        label_pool(FINEPSEUDO, cfg, keys, scores * np.nan, p_e, zero, ones)
    with pytest.raises(UserError, match="MC-dropout"):
        label_pool(METHODS["ups"], METHODS["ups"].config(), keys, scores, p_e, zero, ones, said(p_e, zero * np.nan))
    with pytest.raises(ValueError, match="theta = 1"):
        FinePseudoConfig(theta=1.0)
    assert FinePseudoConfig(theta=1.2, fuse="sum").theta == 1.2


def test_empty_pool():
    table = label_pool(
        FINEPSEUDO, FinePseudoConfig(), [], np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0, bool)
    )
    assert table.num_rows == 0 and acceptance_alarm(FINEPSEUDO, table) is None


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (lambda p: Votes(p[:, :2], p[:, 0] > 0), r"gives p \[2, 2\]; \[2, 3\] is needed"),
        (lambda p: Votes(p, p > 0), r"gives accepted \[2, 3\]; \[2\] is needed"),
        (lambda p: Votes(p, p[:, 0]), "gives accepted of float64; true or false is needed"),
        (lambda p: Votes(p, p[:, 0] > 0, p_a=p[0]), r"gives p_a \[3\]; \[2, 3\] is needed"),
        (lambda p: Votes(p * np.nan, p[:, 0] > 0), "gives NaN or infinity as p"),
        (lambda p: p, "gives a ndarray; it has to give Votes"),
    ],
)
def test_a_vote_of_another_form_is_refused_not_taken_for_labels(gives, says):
    method = replace(METHODS["pseudo_label"], vote=lambda _, pool: gives(pool.p_e))
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    with pytest.raises(UserError, match=f"the vote of pseudo_label {says}"):
        label_pool(method, method.config(), ["a", "b"], None, p, np.zeros(2), [True, True])
