import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.methods.bars import BarConfig, adaptive_bar, calibrated_bar
from finepseudo.methods.base import Pool
from finepseudo.methods.table import METHODS
from shards.errors import UserError
from shards.settings import BadSetting

WITH_BAR = [method for method in METHODS.values() if issubclass(method.config, BarConfig)]


def drawn(n, classes=4, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), n)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=40), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_a_calibrated_bar_is_the_lowest_that_reaches_the_precision(clips, target):
    confidence = np.array([c / 10 for c, _ in clips])
    right = np.array([r for _, r in clips], bool)
    bar = calibrated_bar(confidence, right, target, 3)
    assert bar.shape == (3,)
    assert len(set(bar.tolist())) == 1
    good = [c for c in {float(c) for c in confidence} if right[confidence >= c].mean() >= target - 1e-9]
    kept = confidence.astype(np.float32) > bar[0]
    assert (kept == (confidence >= min(good, default=np.inf))).all()
    assert not kept.any() or right[kept].mean() >= target - 1e-9


@given(st.integers(1, 60), st.integers(1, 20), st.booleans())
def test_an_adaptive_bar_is_the_mean_confidence_whatever_the_pieces(n, size, by_class):
    p = drawn(n)
    pieces = [p[:0], *(p[start : start + size] for start in range(0, n, size))]
    bar = adaptive_bar(pieces, by_class=by_class)
    mean = sum(max(row) for row in p.tolist()) / n
    mass = [sum(column) for column in p.T.tolist()]
    assert bar == pytest.approx([mean * m / max(mass) if by_class else mean for m in mass])


def test_an_empty_pool_accepts_nothing():
    assert adaptive_bar([], by_class=False).size == 0
    assert np.isinf(adaptive_bar([np.zeros((0, 3))], by_class=True)).all()
    assert np.isinf(calibrated_bar(np.zeros(0), np.zeros(0, bool), 0.9, 3)).all()


@pytest.mark.parametrize("method", WITH_BAR, ids=lambda method: method.name)
def test_a_measured_bar_takes_the_place_of_theta_class_by_class(method):
    p, score = drawn(200, 3, 1), np.full((200, 3), 0.9)
    bar = np.array([0.4, 0.9, np.inf])
    cfg = method.config(theta=0.99)
    votes = method.vote(cfg, Pool(np.ones(200, bool), score, p, np.zeros(200), bar=bar))
    voted = votes.p
    assert (votes.accepted == (voted.max(1).astype(np.float32) > bar[voted.argmax(1)])).all()
    assert 0 < votes.accepted.sum() < 200
    assert not votes.accepted[voted.argmax(1) == 2].any()


@pytest.mark.parametrize("method", WITH_BAR, ids=lambda method: method.name)
def test_the_papers_bar_is_the_default_and_what_another_ignores_is_refused(method):
    assert method.config().bar == "fixed"
    with pytest.raises((BadSetting, UserError), match="bar_by_class"):
        method.config(bar="calibrated", bar_by_class=True)
