"""The result of a sweep as one HTML file: parallel coordinates, which keys mattered, and the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.util import find_spec
from typing import Any

import numpy as np

from finepseudo.report.svg import bounds, short, tag
from jobs.workers.pair_probe import OBJECTIVE
from shards.settings import shown

WIDTH, HEIGHT, TOP, SIDE = 900, 320, 40, 60
FEWEST = 5
"""Trials below which nothing is said of importance."""
NO_TREES = (
    "Not known: scikit-learn is not installed; pip install 'finepseudo[search]', then the same command "
    "writes this page again."
)
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;font-size:13px}td,th{padding:.2rem .6rem;text-align:left;border-bottom:1px solid #ddd}
svg text{font-size:11px;fill:#555}.line{fill:none;stroke-width:1.6}.axis{stroke:#999}.bar{fill:#2f6f9f}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}svg text{fill:#bbb}td,th{border-color:#444}}
"""
Row = Mapping[str, Any]


def page(title: str, judged: str, rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Write the page of a sweep; rows are best first."""
    ended = [row for row in rows if _is_number(row[OBJECTIVE])]
    stopped = sum(row["state"] == "stopped" for row in rows)
    said = (
        f"{len(rows)} trials, {stopped} of them stopped by the scheduler; judged by {judged} on held-out labelled clips"
    )
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(said)}.</p>"]
    if ended:
        parts += ["<h2>Trials</h2>", parallel(ended, keys, judged)]
        parts += ["<h2>Which keys mattered</h2>", importance_chart(ended, keys)]
    parts += ["<h2>Table</h2>", table(rows, keys, judged)]
    body = "\n".join(parts)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<style>{STYLE}</style><body>{body}</body></html>\n"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def places(values: Sequence[object]) -> tuple[list[float], list[tuple[float, str]]]:
    """Place values on an axis from 0 to 1, numbers by size (logarithm over two decades), others side by side; ticks."""
    if all(_is_number(value) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]  # type: ignore[arg-type]
        log = min(numbers) > 0 and max(numbers) / min(numbers) >= 100
        scaled = [math.log10(number) for number in numbers] if log else numbers
        low, high = bounds(scaled, pad=0)
        span = (high - low) or 1.0
        ends = {low: short(min(numbers)), high: short(max(numbers))} if min(scaled) < max(scaled) else {}
        ticks = [((place - low) / span, text) for place, text in ends.items()]
        return [(value - low) / span for value in scaled], ticks or [(0.5, short(numbers[0]))]
    texts = [shown(value) for value in values]
    names = sorted(set(texts))
    step = 1 / max(1, len(names) - 1)
    ticks = [(i * step if len(names) > 1 else 0.5, name) for i, name in enumerate(names)]
    place = {name: at for at, name in ticks}
    return [place[text] for text in texts], ticks


def parallel(rows: Sequence[Row], keys: Sequence[str], judged: str) -> str:
    """Draw a line for each trial over an axis a key and one for what it is judged by; the better, the darker."""
    columns, names = [*keys, OBJECTIVE], [*map(_short_key, keys), judged]
    found = [places([row[column] for row in rows]) for column in columns]
    gap = (WIDTH - 2 * SIDE) / max(1, len(columns) - 1)
    marks = []
    for number, (title, (_, ticks)) in enumerate(zip(names, found, strict=True)):
        x = SIDE + number * gap
        marks.append(tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - TOP, class_="axis"))
        marks.append(tag("text", escape(title), x=x, y=TOP - 20 + 12 * (number % 2), text_anchor="middle"))
        marks += [tag("text", escape(name[:28]), x=x + 4, y=_y(at) + 4) for at, name in ticks]
    best = found[-1][0]
    for index in sorted(range(len(rows)), key=lambda index: best[index]):
        points = " ".join(f"{SIDE + i * gap:.1f},{_y(at[index]):.1f}" for i, (at, _) in enumerate(found))
        shade = f"hsl(205 55% {75 - 45 * best[index]:.0f}%)"
        text = tag("title", escape(f"{rows[index]['trial']}: {rows[index][OBJECTIVE]:.4g} ({rows[index]['state']})"))
        marks.append(tag("polyline", text, points=points, class_="line", stroke=shade))
    about = f"{len(rows)} trials over {', '.join(names)}"
    return tag("svg", "".join(marks), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=about)


def _y(place: float) -> float:
    return HEIGHT - TOP - place * (HEIGHT - 2 * TOP)


def _short_key(key: str) -> str:
    return ".".join(key.split(".")[-2:])


def importance(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, float]:
    """Share of each key in what a forest of trees explains of the objective, sum 1; nothing of few or equal trials.

    Nothing without scikit-learn either.
    """
    wanted = np.array([float(row[OBJECTIVE]) for row in rows])
    if len(rows) < FEWEST or np.ptp(wanted) == 0 or not has_trees():
        return {}
    from sklearn.ensemble import ExtraTreesRegressor

    columns = np.array([places([row[key] for row in rows])[0] for key in keys]).T
    shares = ExtraTreesRegressor(300, random_state=0).fit(columns, wanted).feature_importances_
    return dict(sorted(zip(keys, map(float, shares), strict=True), key=lambda pair: -pair[1]))


def has_trees() -> bool:
    """Tell whether the package that tells keys apart is here."""
    return find_spec("sklearn") is not None


def importance_chart(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Draw the importances as bars."""
    if not has_trees():
        return f"<p>{NO_TREES}</p>"
    found = importance(rows, keys)
    if not found:
        return f"<p>Fewer than {FEWEST} trials ended, or all ended the same: nothing can be said.</p>"
    bars = []
    for number, (key, share) in enumerate(found.items()):
        y = 8 + 24 * number
        bars.append(tag("rect", x=300, y=y, width=max(1.0, 500 * share), height=14, class_="bar"))
        bars.append(tag("text", escape(_short_key(key)), x=290, y=y + 11, text_anchor="end"))
        bars.append(tag("text", f"{100 * share:.0f} %", x=308 + 500 * share, y=y + 11))
    about = ", ".join(f"{_short_key(key)} {100 * share:.0f} %" for key, share in found.items())
    return tag("svg", "".join(bars), viewBox=f"0 0 {WIDTH} {24 * len(found) + 10}", role="img", aria_label=about)


def table(rows: Sequence[Row], keys: Sequence[str], judged: str) -> str:
    """Write the table, best first."""
    columns = ["trial", "state", "reports", OBJECTIVE, *keys]
    names = ["trial", "state", "reports", judged, *map(_short_key, keys)]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = ("".join(f"<td>{escape(_cell(row[column]))}</td>" for column in columns) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else shown(value)
