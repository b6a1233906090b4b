"""The tasks on phases: beside scikit-learn and scipy, and on embeddings that know all or nothing of time."""

import numpy as np
import pytest

from finepseudo.evaluation.phases import PhasedVideo, event_progress, kendalls_tau, phase_accuracy, tau_b


def video(rng, size=6, noise=1.0, lengths=(5, 20), phases=3):
    n = int(rng.integers(*lengths)) * phases
    every = np.sort(rng.integers(0, phases, n))
    every[0], every[-1] = 0, phases - 1
    rows = np.stack([np.sin(np.arange(size) * k / n) for k in range(n)]) + noise * rng.normal(size=(n, size))
    return PhasedVideo.of(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.arange(n), every.tolist(), phases)


@pytest.fixture
def videos():
    rng = np.random.default_rng(0)
    return [video(rng) for _ in range(6)], [video(rng) for _ in range(4)]


def test_phase_accuracy_is_that_of_logistic_regression(videos):
    linear = pytest.importorskip("sklearn.linear_model")
    train, test = videos
    x, y = (np.concatenate([getattr(v, name) for v in train]) for name in ("embeddings", "phases"))
    fitted = linear.LogisticRegression(max_iter=5000, tol=1e-8).fit(x, y)
    asked, truth = (np.concatenate([getattr(v, name) for v in test]) for name in ("embeddings", "phases"))
    assert phase_accuracy(train, test) == pytest.approx(fitted.score(asked, truth), abs=2 / len(truth))


def test_event_progress_is_the_mean_r2_of_a_regression_a_boundary(videos):
    linear = pytest.importorskip("sklearn.linear_model")
    train, test = videos

    def table(some, p):
        x = np.concatenate([v.embeddings for v in some])
        y = [[(i - np.flatnonzero(v.phases == p)[-1]) / v.length for i in range(v.length)] for v in some]
        return x, np.concatenate(y)

    wanted = [linear.LinearRegression().fit(*table(train, p)).score(*table(test, p)) for p in range(2)]
    assert event_progress(train, test) == pytest.approx(np.mean(wanted))


@pytest.mark.parametrize("values", [[3, 1, 2], [0, 0, 1, 1], [5, 4, 4, 1, 0], [1, 2, 3], [2, 2, 1, 3, 2, 9]])
def test_tau_is_that_of_scipy(values):
    stats = pytest.importorskip("scipy.stats")
    assert tau_b(values) == pytest.approx(stats.kendalltau(np.arange(len(values)), values)[0])


def test_tau_of_what_stands_still_is_not_defined():
    assert tau_b([1, 1, 1]) is None
    still = PhasedVideo.of(np.ones((4, 2)), range(4), [0] * 4, 1)
    assert kendalls_tau([still, still]) is None
    assert kendalls_tau([still]) is None


@pytest.mark.parametrize(("order", "tau"), [(1, 1.0), (-1, -1.0)])
def test_tau_says_whether_time_runs_the_same_way(order, tau):
    def clock(n):
        return PhasedVideo.of(np.linspace(0, 1, n)[:, None] * [[1.0, 0.5]], range(n), [0] * n, 1)

    other = clock(9)
    turned = PhasedVideo(other.embeddings[::order], other.phases, other.places, other.length, other.last)
    assert kendalls_tau([clock(7), turned]) == pytest.approx(tau, abs=0.06)


def test_embeddings_that_are_the_phase_and_the_progress_are_read_without_error():
    rng = np.random.default_rng(1)
    some = []
    for _ in range(6):
        n, at = 30, sorted(rng.choice(np.arange(3, 27), 2, replace=False).tolist())
        every = [sum(i > a for a in at) for i in range(n)]
        rows = [[(i - a) / n for a in at] + [8.0 * (p == every[i]) for p in range(3)] for i in range(n)]
        some.append(PhasedVideo.of(rows, range(n), every, 3))
    assert phase_accuracy(some[:3], some[3:]) == 1
    assert event_progress(some[:3], some[3:]) == pytest.approx(1)


def test_frames_are_taken_once_and_those_without_a_phase_are_left_out():
    v = PhasedVideo.of([[1.0], [2.0], [2.0], [3.0]], [0, 4, 4, 9], [-1, 0, 0, 0, 0, 2, 2, 2, 2, -1], 3)
    assert v.embeddings.tolist() == [[1.0], [2.0], [3.0]]
    assert (v.phases.tolist(), v.known.tolist(), v.length) == ([-1, 0, -1], [False, True, False], 10)
    assert v.last.tolist() == [4, 4, 8], "phase 1 does not occur: the end of what is before it"
    assert PhasedVideo.of([[1.0]], [0], [1], 2).last.tolist() == [-1, 0]


def test_without_frames_there_is_no_number():
    none = PhasedVideo.of([[1.0], [2.0]], [0, 1], [-1, -1], 2)
    one = PhasedVideo.of([[1.0], [2.0]], [0, 1], [0, 1], 2)
    for task in (phase_accuracy, event_progress):
        assert task([], [one]) is None
        assert task([one], []) is None
        assert task([none], [one]) is None
    single = PhasedVideo.of([[1.0], [2.0]], [0, 1], [0, 0], 1)
    assert event_progress([single], [single]) is None
