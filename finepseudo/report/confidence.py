"""The part of the page about confidence: histograms of right and wrong labels, reliability curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from finepseudo.methods.table import METHODS
from finepseudo.methods.table import title as method_title
from finepseudo.report import figures
from finepseudo.report.alarms import leaves
from finepseudo.report.blocks import NOT_YET, Block, Columns, Figure, Fold, Grid, Note, Section, Table
from finepseudo.report.figures import hue
from finepseudo.report.reading import Bools, Floats, RunFolder
from finepseudo.report.tables import LabelColumns, attempt, read_labels, read_predictions

Tables = dict[int, list[LabelColumns]]  # round -> the pseudo-label tables of all seeds


def scores(run: RunFolder) -> Section:
    """Histograms of p_A, p_E and p for right and wrong labels; reliability curves."""
    lead = "How well confidence tells right labels from wrong ones: before the threshold, seeds together."
    blocks: list[Block] = []
    main = run.main_method()
    main_tables: Tables = {}
    for name in [n for n in run.methods() if any(s.rounds for _, s in run.runs(n))]:
        tables = _tables(run, name)
        main_tables = tables if name == main else main_tables
        parts = list(_histograms(run, name, tables))
        if parts:
            blocks.append(Fold(method_title(name), parts, opened=name == main))
    blocks.sort(key=lambda b: not (isinstance(b, Fold) and b.opened))
    if not blocks:
        blocks.append(Note(NOT_YET + "no pseudo-label table to draw."))
    return Section("scores", "Confidence", [*blocks, *_reliability(run, main_tables)], lead)


def _threshold(run: RunFolder, name: str) -> float | None:
    """Find what p of a method is compared with."""
    key = METHODS[name].threshold if name in METHODS else None
    value = dict(leaves(run.config)).get(f"method.{name}.{key}")
    return float(value) if isinstance(value, float | int) else None


def _tables(run: RunFolder, name: str) -> Tables:
    """Read the pseudo-label tables of all seeds by round."""
    out: Tables = {}
    for _, method in run.runs(name):
        for entry in method.rounds:
            if entry.table is not None:
                table = attempt(run, entry.table, lambda path: read_labels(path, run.truth))
                if table is not None:
                    out.setdefault(entry.round, []).append(table)
    return out


def _histograms(run: RunFolder, name: str, by_round: Tables) -> Iterator[Block]:
    known = any((t.truth >= 0).any() for tables in by_round.values() for t in tables)
    marks = [("hue-right", "label right (up)"), ("hue-wrong", "label wrong (down)")]
    marks = marks if known else [("hue-shared", "class not known")]
    for number, tables in sorted(by_round.items()):
        drawn = []
        for score, column, label in (
            ("p_A", "p_a_max", "label_a"),
            ("p_E", "p_e_max", "label_e"),
            ("p", "p_max", "label"),
        ):
            right, value = _pooled(tables, label, column) if known else (None, _scores(tables, column))
            if len(value):
                theta = _threshold(run, name) if score == "p" else None
                svg = figures.score_histogram(value, right, f"max {score}", theta)
                drawn.append(Figure(svg, f"{score}, round {number}"))
        if drawn:
            yield Grid(drawn, marks)


def _reliability(run: RunFolder, tables: Tables) -> Iterator[Block]:
    """Calibration of the test predictions of every method and of the main method's p in every round."""
    curves, body = [], []
    for name in run.methods():
        read = [attempt(run, s.predictions, read_predictions) for _, s in run.runs(name) if s.predictions]
        there = [r for r in read if r is not None and len(r[0])]
        if there:
            right, confidence = (np.concatenate([r[i] for r in there]) for i in (0, 1))
            found = figures.calibration(right.astype(bool), confidence.astype(float))
            curves.append((hue(name), method_title(name), found))
            numbers = (confidence.mean(), right.mean(), found.ece)
            body.append([method_title(name), str(len(right)), *(f"{100 * v:.1f}" for v in numbers)])
    if not curves:
        yield Note(NOT_YET + "no test predictions for a reliability curve.")
        return
    head = ["Predictions", "#Clips", "#Confidence", "#Right", "#Error"]
    remark = "Percent; error = expected calibration error, 10 bins. On the dashed line confidence is right."
    yield Columns(
        [
            _curves(curves, "Reliability on the test clips", "confidence of the prediction (max p), %"),
            *_pool_reliability(run, tables, body),
        ]
    )
    yield Table("calibration", head, body, remark)


def _curves(curves: Sequence[tuple[str, str, figures.Reliability]], title: str, x_label: str) -> Grid:
    return Grid([Figure(figures.reliability(curves, x_label), title)], [(h, t) for h, t, _ in curves])


def _pool_reliability(run: RunFolder, tables: Tables, body: list[list[str]]) -> Iterator[Block]:
    """Calibration of the main method's p over the unlabelled pool, first and last round; adds rows to the table."""
    name = run.main_method()
    curves = []
    for number, look in {min(tables, default=0): "hue-shared", max(tables, default=0): hue(name or "")}.items():
        right, p = _pooled(tables.get(number, []), "label", "p_max")
        if len(p) and p.max() < 1 + 1e-6:  # the sum of p_A and p_E is no probability
            found = figures.calibration(right, p)
            curves.append((look, f"{method_title(name or '')}, pool, round {number}", found))
            body.append([curves[-1][1], str(len(p)), *(f"{100 * v:.1f}" for v in (p.mean(), right.mean(), found.ece))])
    if curves:
        yield _curves(curves, "Reliability on the pool", "confidence of the label (max p), %")


def _scores(tables: Sequence[LabelColumns], score: str) -> Floats:
    """Join the scores of the valid clips, whether their class is known or not."""
    values: list[Floats] = [getattr(t, score)[t.valid] for t in tables]
    found: Floats = np.concatenate([np.empty(0), *values])
    there: Floats = found[np.isfinite(found)]
    return there


def _pooled(tables: Sequence[LabelColumns], label: str, score: str) -> tuple[Bools, Floats]:
    """Join tables: whether `label` is the hidden truth, and `score`, of the valid clips where both are known."""
    right, values = [np.empty(0, np.bool_)], [np.empty(0)]
    for t in tables:
        value: Floats = getattr(t, score)
        use = t.valid & (t.truth >= 0) & np.isfinite(value)
        right.append((getattr(t, label) == t.truth)[use])
        values.append(value[use])
    return np.concatenate(right), np.concatenate(values)
