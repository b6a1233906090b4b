"""Charts per class, readable from 4 to 400 classes: large sets show their extremes and an aggregate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from finepseudo.report.reading import Ints
from finepseudo.report.svg import Plot, percent, short, svg, tag, text, ticks

ALL_BARS = 60  # classes drawn one by one; above, the extremes
EXTREMES = 15  # of each kind
ALL_CELLS = 40  # classes of a whole confusion matrix; above, the most confused ones and the rest as one
WORST = 24
BESIDE = 16  # classes whose matrix fits beside another chart
NAME = 22  # letters of a class name in a chart


@dataclass(frozen=True, slots=True)
class ClassPair:
    """Accuracy of one class under the reference method and under the main one (None: not measured)."""

    name: str
    base: float | None
    main: float


def clip_name(name: str, letters: int = NAME) -> str:
    """Shorten a class name for a chart."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def extremes(pairs: Sequence[ClassPair]) -> list[ClassPair]:
    """Choose what to draw: all, or the largest gains and losses; ordered by gain, then by accuracy."""
    ordered = sorted(pairs, key=lambda p: (-(p.main - (p.base or 0.0)), -p.main, p.name))
    return ordered if len(ordered) <= ALL_BARS else [*ordered[:EXTREMES], *ordered[-EXTREMES:]]


def class_accuracy(pairs: Sequence[ClassPair], hues: tuple[str, str], titles: tuple[str, str]) -> str:
    """Draw one row a class: a ring for the reference, a dot for the main method, a line between."""
    shown = extremes(pairs)
    plot = _rows(len(shown), (0.0, 1.0), "accuracy, %", percent)
    for i, pair in enumerate(shown):
        y = len(shown) - i - 0.5
        _row_name(plot, y, pair.name)
        said = f"{pair.name}: {titles[1]} {100 * pair.main:.1f} %"
        if pair.base is not None:
            said += f", {titles[0]} {100 * pair.base:.1f} %"
            plot.line([pair.base, pair.main], [y, y], f"link {hues[1]}")
            plot.dot(pair.base, y, f"ring {hues[0]}", said, 3.6)
        plot.dot(pair.main, y, hues[1], said, 3.8)
    return plot.draw(f"Accuracy of {len(shown)} of {len(pairs)} classes, {titles[1]} against {titles[0]}")


@dataclass(frozen=True, slots=True)
class ClassLabels:
    """Accepted pseudo-labels of one class: right, wrong, and those of clips whose class nobody knows."""

    name: str
    right: int
    wrong: int
    unjudged: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.right + self.wrong + self.unjudged

    def spans(self) -> Iterator[tuple[tuple[float, float], str, str]]:
        """Give the parts of a bar that are not empty: from, to; hue; what to say."""
        low = 0
        parts = (self.right, "right", "right"), (self.wrong, "wrong", "wrong"), (self.unjudged, "shared", "not judged")
        for n, look, word in parts:
            if n:
                yield (low, low + n), f"hue-{look}", f"{self.name}: {n} {word}"
            low += n


def class_labels(counts: Sequence[ClassLabels]) -> str:
    """Draw accepted pseudo-labels per class: bars, or for many classes one ranked profile."""
    ordered = sorted(counts, key=lambda c: (-c.total, c.name))
    top = max((c.total for c in ordered), default=1) or 1
    empty = sum(not c.total for c in ordered)
    alt = f"Accepted pseudo-labels of {len(ordered)} classes, most {top}; {empty} classes have none"
    if len(ordered) > ALL_BARS:
        return _profile(ordered, top, alt)
    plot = _rows(len(ordered), (0.0, float(top)), "accepted pseudo-labels", short)
    for i, labels in enumerate(ordered):
        y = len(ordered) - i - 0.5
        _row_name(plot, y, labels.name)
        for span, look, said in labels.spans():
            plot.box(span, (y - 0.32, y + 0.32), look, said)
    return plot.draw(alt)


def _profile(ordered: Sequence[ClassLabels], top: int, alt: str) -> str:
    plot = Plot(
        x=(0, len(ordered)), y=(0, top * 1.05), size=(560, 240), x_label="classes, most labels first", y_label="labels"
    )
    for i, labels in enumerate(ordered):
        for span, look, said in labels.spans():
            plot.box((i, i + 1), span, look, said)
    return plot.draw(alt)


def _rows(count: int, x: tuple[float, float], x_label: str, x_format: Callable[[float], str]) -> Plot:
    plot = Plot(
        x=x,
        y=(0, max(count, 1)),
        size=(430, 44 + 19 * max(count, 1)),
        margin=(4, 14, 36, 150),
        x_label=x_label,
        x_format=x_format,
        y_ticks=[],
    )
    for value in ticks(*x):
        at = plot.px(value)
        plot.parts.append(tag("line", x1=at, x2=at, y1=plot.top, y2=plot.height - plot.bottom, class_="grid"))
    return plot


def _row_name(plot: Plot, y: float, name: str) -> None:
    plot.parts.append(text(plot.left - 8, plot.py(y) + 3.5, clip_name(name), anchor="end", class_="rowlabel"))


def aggregate(confusion: Ints, classes: Sequence[str]) -> tuple[Ints, list[str]]:
    """Keep a small matrix whole; of a large one the classes with most wrong clips, the others summed as one.

    confusion: [C, C], rows true, columns predicted. Returns the smaller matrix and its names.
    """
    n = len(classes)
    if n <= ALL_CELLS:
        return confusion, list(classes)
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")
    group = np.full(n, WORST)
    kept = np.sort(order[:WORST])
    group[kept] = np.arange(WORST)
    small = np.zeros((WORST + 1, WORST + 1), np.int64)
    np.add.at(small, (group[:, None], group[None, :]), confusion)
    return small, [*(classes[i] for i in kept), f"{n - WORST} other classes"]


def confusion_matrix(confusion: Ints, classes: Sequence[str], rest: int = -1) -> str:
    """Draw rows (true) against columns (predicted); ink = share of the row, errors in another hue than hits.

    rest: the row that sums other classes, whose diagonal is neither hit nor error; -1 for none.
    """
    n = len(classes)
    cell = 26 if n <= 16 else 18 if n <= 28 else 15
    left = top = 164
    parts = [
        text(left + n * cell / 2, 12, "predicted", anchor="middle", class_="label"),
        text(12, top + n * cell / 2, "true", anchor="middle", class_="label", rotate=-90),
        tag("rect", x=left, y=top, width=n * cell, height=n * cell, class_="plate"),
    ]
    totals = confusion.sum(1)
    for i, name in enumerate(classes):
        mid = (i + 0.5) * cell
        parts.append(text(left - 6, top + mid + 3.5, clip_name(name), anchor="end", class_="rowlabel"))
        parts.append(text(left + mid + 3.5, top - 6, clip_name(name), class_="rowlabel", rotate=-90))
        for j in np.flatnonzero(confusion[i]).tolist():
            count, share = int(confusion[i, j]), confusion[i, j] / totals[i]
            said = f"{name} taken for {classes[j]}" if i != j else "among these" if i == rest else f"{name} recognised"
            title = tag("title", escape(f"{said}: {count} of {int(totals[i])}"))
            at = {"x": left + j * cell + 0.5, "y": top + i * cell + 0.5, "width": cell - 1, "height": cell - 1}
            hue = "hue-shared" if i == j == rest else "hue-right" if i == j else "hue-wrong"
            cell_of = {} if rest in (i, j) else {"data_truth": name, "data_said": classes[j]}
            ink = round(0.12 + 0.88 * share, 2)
            parts.append(tag("rect", title, class_=f"fill {hue}", fill_opacity=ink, **cell_of, **at))
            if cell >= 26:
                dark = " on" if share > 0.55 else ""
                parts.append(
                    text(at["x"] + cell / 2 - 0.5, at["y"] + 17, str(count), anchor="middle", class_=f"cell{dark}")
                )
    side = left + n * cell + 6
    right = int(sum(confusion[i, i] for i in range(n) if i != rest))
    return svg(
        side, side, parts, f"Confusion matrix of {n} classes: {right} of {int(confusion.sum())} right", "chart plain"
    )
