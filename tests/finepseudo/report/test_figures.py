"""Drawing: images decode to their pixels, axes hold round numbers, large matrices keep every clip."""

from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.image import imread

from finepseudo.report.alignment_figure import alignment, shrink
from finepseudo.report.class_figures import WORST, ClassPair, aggregate, confusion_matrix, extremes
from finepseudo.report.figures import Curve, calibration, score_histogram, training, validation
from finepseudo.report.svg import Plot, png, ticks

IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(IMAGES)
@settings(max_examples=25, deadline=None)
def test_png_decodes_to_the_same_pixels(pixels):
    data = base64.b64decode(png(pixels).removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.round(imread(io.BytesIO(data)) * 255).astype(np.uint8)[..., :3], pixels)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
@settings(deadline=None)
def test_ticks_are_few_inside_and_evenly_spaced(lo, width):
    found = ticks(lo, lo + width)
    assert 1 <= len(found) <= 7
    assert all(lo - 1e-6 * width <= t <= lo + width * (1 + 1e-6) for t in found)
    gaps = np.diff(found)
    assert np.allclose(gaps, gaps[:1], rtol=1e-3)


def test_ticks_of_percent():
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]


@given(st.integers(0, 1000), st.integers(41, 90))
@settings(max_examples=15, deadline=None)
def test_a_large_matrix_keeps_every_clip_and_the_worst_classes(seed, n):
    rng = np.random.default_rng(seed)
    confusion = rng.poisson(0.2, (n, n)) + np.diag(rng.poisson(5, n))
    small, names = aggregate(confusion, [str(i) for i in range(n)])
    assert small.shape == (WORST + 1, WORST + 1) == (len(names), len(names))
    assert small.sum() == confusion.sum()
    kept = [int(name) for name in names[:-1]]
    assert np.array_equal(small[:-1, :-1], confusion[np.ix_(kept, kept)])
    off = confusion - np.diag(np.diag(confusion))
    wrong = off.sum(0) + off.sum(1)
    assert min(wrong[kept]) >= max(np.delete(wrong, kept))


def test_a_small_matrix_stays_whole_and_every_cell_says_what_it_is():
    confusion = np.array([[3, 1], [0, 0]])
    small, names = aggregate(confusion, ["a<b", "c"])
    assert small is confusion
    drawn = confusion_matrix(small, names)
    assert "a&lt;b taken for c: 1 of 4" in drawn
    assert "a&lt;b recognised: 3 of 4" in drawn
    assert drawn.count("<rect") == 3  # the plate and two cells


def test_extremes_are_the_largest_gains_and_losses():
    pairs = [ClassPair(str(i), 0.5, i / 100) for i in range(100)]
    chosen = [p.name for p in extremes(pairs)]
    assert chosen == [str(i) for i in [*range(99, 84, -1), *range(14, -1, -1)]]
    assert len(extremes(pairs[:60])) == 60


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
@settings(deadline=None)
def test_calibration_counts_every_clip_and_its_error_is_a_mean_gap(pairs):
    confidence, right = (np.array(x) for x in zip(*pairs, strict=True))
    found = calibration(right, confidence)
    assert found.count.sum() == len(pairs)
    assert found.count @ found.confidence == pytest.approx(confidence.sum(), abs=1e-6)
    assert found.count @ found.accuracy == pytest.approx(right.sum(), abs=1e-6)
    assert abs(right.mean() - confidence.mean()) - 1e-9 <= found.ece <= 1


def test_histogram_draws_right_above_and_wrong_below():
    drawn = score_histogram(np.array([0.1, 0.9, 0.9, 0.3]), np.array([False, True, True, False]), "max p", 0.6)
    boxes = dict(re.findall(r'class="fill hue-(right|wrong)">.*?: (\d+) ', drawn))
    assert boxes == {"right": "2", "wrong": "1"}
    assert "θ = 0.6" in drawn
    assert "2 right (mean 0.90), 2 wrong (mean 0.20)" in drawn
    plot = Plot(x=(0, 1), y=(-1, 1))
    assert plot.py(0.5) < plot.py(0) < plot.py(-0.5)


def test_a_gap_in_a_curve_stays_a_gap():
    plot = Plot(x=(0, 3), y=(0, 1))
    plot.line([0, 1, 2, 3], [0.1, math.nan, 0.2, 0.3], "x")
    assert re.search(r'd="M[^ML"]*M[^ML"]*L[^ML"]*"', plot.parts[-1])


@pytest.mark.parametrize("draw", [lambda c: training([c], "f_E"), lambda c: validation([c], "%")])
def test_a_single_point_makes_no_line_and_is_a_dot(draw):
    steps = np.array([6.0, 12.0])
    of_two, of_one = (draw(Curve("hue-blue", "x", steps[:n], steps[:n] / 20, steps[:n] / 20)) for n in (2, 1))
    assert ("circle" in of_two, "circle" in of_one) == (False, True)


def test_a_long_curve_is_averaged_not_cut():
    steps = np.arange(10_000.0)
    curve = Curve("hue-shared", "seed 0", steps, steps / 1e4, np.full(10_000, np.nan))
    drawn = training([curve], "pretrain")
    assert len(drawn) < 12_000
    assert "NaN" not in drawn
    assert "nan" not in drawn


def test_shrink_averages_blocks():
    frame = np.zeros((200, 100, 3), np.uint8)
    frame[::2] = 100
    small = shrink(frame, 100)
    assert small.shape == (100, 50, 3)
    assert (small == 50).all()
    assert np.array_equal(shrink(small, 100), small)


def test_alignment_shows_path_cells_and_frames():
    eye = np.eye(12)
    film = np.zeros((12, 40, 30, 3), np.uint8)
    drawn = alignment(1 - eye, eye, film, film, ("u & v", "w"))
    assert drawn.count("<circle") == 12 + 1  # and one in the key
    assert drawn.count("<image") == 8 + 8 + 2
    assert "mean cost along the soft path 0.00" in drawn
    assert "u &amp; v" in drawn
