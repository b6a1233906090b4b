"""The page of a sweep."""

import pytest

from jobs.tune.page import NO_TREES, importance, page, places
from jobs.tune.trials import METRIC

ROWS = [
    {"trial": f"t{i}", "state": "stopped" if i > 6 else "done", "reports": 4, METRIC: 0.9 - 0.05 * i, "a.lr": 10.0**-i}
    | {"a.fuse": ["mean", "sum"][i % 2]}
    for i in range(9)
]
KEYS = ["a.lr", "a.fuse"]


def test_the_page_shows_every_trial_and_which_key_mattered():
    text = page("sweep <1>", "pair AP", ROWS, KEYS)
    assert text.count("<polyline") == len(ROWS)
    assert "<th>pair AP</th>" in text and ">pair AP</text>" in text and METRIC not in text
    assert "9 trials, 2 of them stopped by the scheduler" in text
    assert "sweep &lt;1&gt;" in text
    found = importance(ROWS, KEYS)
    assert list(found) == KEYS, "the objective follows the learning rate"
    assert sum(found.values()) == pytest.approx(1)
    failed = [{**ROWS[0], METRIC: None, "state": "failed"}]
    assert "<polyline" not in page("x", "top-1", failed, KEYS)
    assert "nothing can be said" in page("x", "top-1", ROWS[:3], KEYS)


def test_where_no_forest_can_be_grown_the_page_says_what_is_missing(monkeypatch):
    """scikit-learn is no part of what a run needs: a sweep that has ended is shown without."""
    monkeypatch.setattr("jobs.tune.page.find_spec", lambda name: None)
    text = page("x", "top-1", ROWS, KEYS)
    assert text.count("<polyline") == len(ROWS)
    assert NO_TREES in text
    assert "pip install 'finepseudo[search]'" in text
    assert importance(ROWS, KEYS) == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], [0, 0.5, 1]),
        ([0.001, 0.01, 0.1], [0, 0.5, 1]),
        (["b", "a", "b"], [1, 0, 1]),
        ([True, False], [1, 0]),
        ([5.0], [0]),
    ],
)
def test_values_are_placed_on_their_axis(values, expected):
    found = places(values)[0]
    assert found == pytest.approx(expected) or len(set(values)) == 1
