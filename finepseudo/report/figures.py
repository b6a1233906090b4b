"""Charts of results, training and scores. Each function takes plain numbers and returns an SVG element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finepseudo.methods.table import METHODS
from finepseudo.methods.table import title as method_title
from finepseudo.report.reading import Bools, Floats
from finepseudo.report.summary import Stat
from finepseudo.report.svg import Plot, bounds, percent, short, tag, text

POINTS = 240  # a curve of more points is averaged in buckets: more than one point a pixel shows nothing


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a training chart: steps, loss and data-wait fraction (NaN where not logged), equal lengths."""

    hue: str
    name: str
    steps: Floats
    loss: Floats
    wait: Floats


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy in bins that hold anything, and the expected calibration error."""

    confidence: Floats
    accuracy: Floats
    count: Floats
    ece: float


def hue(method: str) -> str:
    """Choose the CSS hue class of a method."""
    return f"hue-{METHODS[method].hue if method in METHODS else 'purple'}"


def legend(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pair methods with their hues."""
    return [(hue(n), method_title(n)) for n in names]


def method_dots(rows: Sequence[tuple[str, str, Stat]], x_label: str) -> str:
    """Draw a line of dots per method (hue, title, values as fractions): a ring a seed, a bar at the mean."""
    shown = [r for r in rows if r[2].values]
    lo, hi = bounds([v for r in shown for v in r[2].values], pad=0.12, floor=0.0)
    height = 40 + 40 * len(shown)
    plot = Plot(
        x=(lo, min(hi, 1.0) if hi > 1 else hi),
        y=(0, len(shown)),
        size=(360, height),
        margin=(4, 12, 36, 8),
        x_label=x_label,
        x_format=percent,
        y_ticks=[],
    )
    for i, (name, title, stat) in enumerate(shown):
        y = len(shown) - i - 0.72
        plot.parts.append(text(plot.left, plot.py(y) - 13, f"{title}  {stat.percent()}", class_="rowlabel"))
        plot.line([plot.x0, plot.x1], [y, y], "hair")
        for value in stat.values:
            plot.dot(value, y, f"ring {name}", f"{title}: {100 * value:.1f} %", 4)
        mean = stat.mean or 0.0
        half = 8 / (plot.height - plot.top - plot.bottom) * (plot.y1 - plot.y0)
        plot.line([mean, mean], [y - half, y + half], f"thick {name}", f"{title}: mean {100 * mean:.1f} %")
    said = "; ".join(f"{title} {stat.percent()} percent" for _, title, stat in shown)
    return plot.draw(f"{x_label} per method: {said}")


def per_round(series: Sequence[tuple[str, str, Mapping[int, Stat]]], y_label: str, *, fraction: bool) -> str:
    """Draw a line per method over rounds through the means, a small dot a seed."""
    rounds = sorted({r for _, _, by_round in series for r in by_round})
    values = [v for _, _, by_round in series for s in by_round.values() for v in s.values]
    y = (0.0, 1.0) if fraction and max(values, default=0) > 0.5 else bounds([0.0, *values], floor=0.0)
    x = (min(rounds) - 0.15, max(rounds) + 0.15)
    plot = Plot(x=x, y=y, x_label="round", y_label=y_label, x_ticks=rounds, y_format=percent if fraction else short)
    said = []
    for name, title, by_round in series:
        means = [(r, s.mean) for r, s in sorted(by_round.items()) if s.mean is not None]
        plot.line([r for r, _ in means], [m for _, m in means], name, title)
        for r, stat in by_round.items():
            for value in stat.values:
                plot.dot(r, value, f"small {name}", f"{title}, round {r}: {_say(value, fraction)}", 2.2)
        for r, mean in means:
            plot.dot(r, mean, name, f"{title}, round {r}, mean: {_say(mean, fraction)}", 3.6)
        said.append(f"{title}: " + ", ".join(f"round {r} {_say(m, fraction)}" for r, m in means))
    return plot.draw(f"{y_label} per round. " + "; ".join(said))


def _say(value: float, fraction: bool) -> str:
    return f"{100 * value:.1f} %" if fraction else f"{value:,.0f}"


def score_histogram(
    values: Floats, right: Bools | None, x_label: str, theta: float | None = None, bins: int = 25
) -> str:
    """Draw how often a score occurs for right labels (upwards) and for wrong ones (downwards); None: nobody knows."""
    top = max(1.0, float(values.max(initial=0.0)))
    edges = np.linspace(0.0, top, bins + 1)
    up_mask = np.ones(len(values), np.bool_) if right is None else right
    up, down = (np.histogram(values[mask], edges)[0] for mask in (up_mask, ~up_mask))
    look, word = ("hue-shared", "not judged") if right is None else ("hue-right", "right")
    y = (-1.08 * max(down.max(), 1), 1.08 * max(up.max(), 1))
    plot = Plot(x=(0.0, top), y=y, size=(360, 200), x_label=x_label, y_label="clips", y_format=lambda v: short(abs(v)))
    for i in range(bins):
        span = (edges[i], edges[i + 1])
        where = f"{edges[i]:.2f} to {edges[i + 1]:.2f}"
        if up[i]:
            plot.box(span, (0, int(up[i])), look, f"{where}: {up[i]} {word}", 1)
        if down[i]:
            plot.box(span, (0, -int(down[i])), "hue-wrong", f"{where}: {down[i]} wrong", 1)
    plot.hline(0)
    if theta is not None:
        plot.vline(theta, f"θ = {theta:g}")
    means = [f"{float(values[m].mean()):.2f}" if m.any() else "none" for m in (up_mask, ~up_mask)]
    said = f"{int(up_mask.sum())} {word} (mean {means[0]})"
    said += "" if right is None else f", {int((~right).sum())} wrong (mean {means[1]})"
    return plot.draw(f"Histogram of {x_label}: {said}")


def calibration(right: Bools, confidence: Floats, bins: int = 10) -> Reliability:
    """Bin predictions by confidence; ECE = sum over bins of share * |accuracy - confidence| (Naeini et al. 2015)."""
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins).astype(float)
    used = count > 0
    mean = np.bincount(place, confidence, bins)[used] / count[used]
    accuracy = np.bincount(place, right.astype(float), bins)[used] / count[used]
    ece = float((count[used] * np.abs(accuracy - mean)).sum() / count.sum()) if used.any() else math.nan
    return Reliability(mean, accuracy, count[used], ece)


def reliability(curves: Sequence[tuple[str, str, Reliability]], x_label: str) -> str:
    """Draw accuracy against confidence; the diagonal is perfect, larger dots hold more clips."""
    plot = Plot(
        x=(0, 1), y=(0, 1), size=(360, 300), x_label=x_label, y_label="% right", x_format=percent, y_format=percent
    )
    plot.parts.append(_diagonal(plot))
    for name, title, r in curves:
        plot.line(list(r.confidence), list(r.accuracy), name, title)
        for c, a, n in zip(r.confidence, r.accuracy, r.count, strict=True):
            size = 2 + 5 * math.sqrt(n / r.count.sum())
            plot.dot(c, a, name, f"{title}: confidence {100 * c:.0f} %, right {100 * a:.0f} %, {n:.0f} clips", size)
    said = "; ".join(f"{title}: calibration error {100 * r.ece:.1f} percent" for _, title, r in curves)
    return plot.draw(f"Reliability curve. {said}")


def _diagonal(plot: Plot) -> str:
    ends = {"x1": plot.px(0), "y1": plot.py(0), "x2": plot.px(1), "y2": plot.py(1)}
    return tag("line", class_="mark", **ends)


def training(curves: Sequence[Curve], title: str) -> str:
    """Draw the loss over steps and, in a strip below on the same steps, the fraction of time spent waiting for data."""
    thin = [_thin(c) for c in curves]
    losses = [float(v) for c in thin for v in c.loss]
    last = max((float(c.steps[-1]) for c in thin if len(c.steps)), default=1.0)
    waits = [float(v) for c in thin for v in c.wait if math.isfinite(v)]
    upper = Plot(x=(0, last), y=bounds(losses), size=(360, 176), margin=(24, 10, 10, 42), x_ticks=[], y_label="loss")
    limit = next(v for v in (0.1, 0.25, 0.5, 1.0) if v >= min(max(waits, default=0.0), 1.0))
    lower = Plot(
        x=(0, last),
        y=(0, limit),
        size=(360, 94),
        margin=(22, 10, 34, 42),
        x_label="step",
        y_label="waiting for data, %",
        y_ticks=[0, limit],
        y_format=percent,
    )
    for c in thin:
        _trace(upper, c, c.loss)
        _trace(lower, c, c.wait)
    height = upper.height + lower.height
    body = "".join(upper.parts) + tag("g", "".join(lower.parts), transform=f"translate(0 {upper.height})")
    ends = [f"{c.name} {c.loss[-1]:.3g}" for c in thin if len(c.loss)]
    alt = f"{title}: loss over {last:.0f} steps, last value of each line: " + ", ".join(ends)
    return tag(
        "svg",
        body,
        viewBox=f"0 0 360 {height:.0f}",
        class_="chart",
        role="img",
        aria_label=alt,
        style="--w:360px",
    )


def _trace(plot: Plot, curve: Curve, values: Floats) -> None:
    """Draw a curve; a single point, which makes no line, as a dot."""
    plot.line(list(curve.steps), list(values), f"fine {curve.hue}", curve.name)
    if len(values) == 1:
        plot.dot(curve.steps[0], values[0], curve.hue, curve.name)


def validation(curves: Sequence[Curve], y_label: str) -> str:
    """Draw fractions (as `loss`) that were measured now and then while training, over steps."""
    values = [float(v) for c in curves for v in c.loss]
    last = max((float(c.steps[-1]) for c in curves), default=1.0)
    low, high = bounds(values, pad=0.12, floor=0.0)
    plot = Plot(
        x=(0, last), y=(low, min(high, 1.0) if high > 1 else high), x_label="step", y_label=y_label, y_format=percent
    )
    for c in curves:
        _trace(plot, c, c.loss)
    ends = [f"{c.name} {100 * c.loss[-1]:.1f} percent" for c in curves]
    return plot.draw(f"{y_label} over {last:.0f} steps, last value of each line: " + ", ".join(ends))


def _thin(curve: Curve) -> Curve:
    """Average a long curve in POINTS buckets of equal step count."""
    if len(curve.steps) <= POINTS:
        return curve
    place = np.arange(len(curve.steps)) * POINTS // len(curve.steps)

    def mean(values: Floats) -> Floats:
        there = np.isfinite(values)
        count = np.bincount(place[there], minlength=POINTS).astype(float)
        total = np.bincount(place[there], values[there], POINTS)
        out = np.full(POINTS, np.nan)
        np.divide(total, count, out=out, where=count > 0)
        return out

    return Curve(curve.hue, curve.name, mean(curve.steps), mean(curve.loss), mean(curve.wait))
