"""The parts of the page about results: headline, pseudo-labels, scores, classes, alignment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from finepseudo.report import alignment_figure, class_figures, figures
from finepseudo.report.alarms import leaves
from finepseudo.report.blocks import Block, Columns, Figure, Fold, Grid, Note, Section, Table, Tile
from finepseudo.report.figures import hue
from finepseudo.report.reading import (
    Bools,
    Floats,
    LabelColumns,
    RunFolder,
    read_labels,
    read_predictions,
    strategy_title,
)
from finepseudo.report.summary import RoundSummary, Stat, SummaryRow

NOT_YET = "Not there yet: "
THRESHOLD_ON_P = ("confidence", "collaborative")  # the others compare another value with theta
T = TypeVar("T")


def legend(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pair strategies with their hues."""
    return [(hue(n), strategy_title(n)) for n in names]


def attempt(run: RunFolder, path: Path, read: Callable[[Path], T]) -> T | None:
    """Read a large file; one that cannot be read is named among the problems."""
    try:
        return read(path)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        run.problems.append(f"{path.relative_to(run.root)} cannot be read: {str(error).splitlines()[0]}")
        return None


def tiles(run: RunFolder, rows: Sequence[SummaryRow], wall: str) -> list[Tile]:
    """Choose the numbers to take away."""
    main = next((r for r in rows if r.strategy == run.main_strategy()), None)
    if main is None:
        return []
    out = []
    if main.top1.values:
        out.append(Tile(main.top1.percent(), "%", f"top-1, {main.title}"))
    if main.gain.values:
        out.append(Tile(main.gain.percent(sign=True), "points", "against supervised only"))
    if main.rounds:
        last = main.rounds[-1]
        out.append(Tile(last.accepted.count(), "", f"pseudo-labels in round {last.round}"))
        out.append(Tile(last.precision.percent(), "%", "of them right"))
    return [*out, Tile(wall, "", "wall time, all stages")]


def headline(rows: Sequence[SummaryRow]) -> Section:
    """Table and dots: strategies over seeds."""
    lead = "Test accuracy in percent, mean ± standard deviation over seeds (label splits); gain is paired by seed."
    if not rows:
        return Section("results", "Results", [Note(NOT_YET + "no strategy has run.")], lead)
    head = ["Strategy", "#Seeds", "#Top-1", "#Gain", "#Top-5", "#Mean class", "#Labels, last round", "#Precision"]
    body = [[r.title, str(len(r.seeds)), *_results(r)] for r in rows]
    main = next((i for i, r in enumerate(rows) if r.strategy == "collaborative"), -1)
    blocks: list[Block] = [Table("headline", head, body, strong=main)]
    if any(r.top1.values for r in rows):
        dots = [(hue(r.strategy), r.title, r) for r in rows]
        blocks.append(
            Grid(
                [
                    Figure(figures.strategy_dots([(h, t, r.top1) for h, t, r in dots], "top-1, %"), "Top-1"),
                    Figure(figures.strategy_dots([(h, t, r.mean_class) for h, t, r in dots], "%"), "Mean over classes"),
                ]
            )
        )
        blocks.append(Note("Each ring is one seed, each bar the mean."))
    else:
        blocks.append(Note(NOT_YET + "no strategy has been evaluated."))
    return Section("results", "Results", blocks, lead)


def _results(row: SummaryRow) -> list[str]:
    last = row.rounds[-1] if row.rounds else None
    labels = [last.accepted.count(), last.precision.percent()] if last else ["–", "–"]
    gain = row.gain.percent(sign=True)
    return [row.top1.percent(), gain, row.top5.percent(), row.mean_class.percent(), *labels]


def pseudo_labels(run: RunFolder, rows: Sequence[SummaryRow]) -> Section:
    """Count, coverage and precision per round; accepted labels per class."""
    with_rounds = [r for r in rows if r.rounds]
    lead = "Hidden labels of the pool are looked up by key, for this report only."
    if not with_rounds:
        return Section("labels", "Pseudo-labels", [Note(NOT_YET + "no pseudo-labels have been made.")], lead)
    head = ["Strategy", "#Round", "#Accepted", "#Coverage", "#Precision", "#Precision f_A", "#Precision f_E"]
    body = [[r.title, str(x.round), *_labels_row(x)] for r in with_rounds for x in r.rounds]

    def chart(title: str, value: Callable[[RoundSummary], Stat], unit: str, *, fraction: bool = True) -> Figure:
        series = [(hue(r.strategy), r.title, {x.round: value(x) for x in r.rounds}) for r in with_rounds]
        return Figure(figures.per_round(series, unit, fraction=fraction), title)

    charts = [
        chart("Precision", lambda x: x.precision, "% of accepted labels right"),
        chart("Coverage", lambda x: x.coverage, "% of the pool accepted"),
        chart("Accepted labels", lambda x: x.accepted, "labels", fraction=False),
    ]
    blocks: list[Block] = [
        Grid(charts, legend([r.strategy for r in with_rounds])),
        Table("rounds", head, body, "Percent, mean ± standard deviation over seeds."),
        *_labels_per_class(run),
    ]
    return Section("labels", "Pseudo-labels", blocks, lead)


def _labels_row(x: RoundSummary) -> list[str]:
    stats = (x.coverage, x.precision, x.precision_a, x.precision_e)
    return [x.accepted.count(), *(s.percent() for s in stats)]


def _labels_per_class(run: RunFolder) -> Iterator[Block]:
    """Accepted labels of the main strategy's last round, summed over seeds."""
    name = run.main_strategy()
    rounds = [(r.round, r.metrics) for _, s in run.runs(name or "") for r in s.rounds if r.metrics]
    if not rounds or name is None:
        return
    last = max(n for n, _ in rounds)
    counts: dict[str, list[int]] = {c: [0, 0] for c in run.classes}
    for metrics in (m for n, m in rounds if n == last):
        for entry in metrics.get("per_class", []):
            count = counts.setdefault(run.class_name(entry["class"]), [0, 0])
            count[0] += int(entry["accepted"])
            count[1] += int(entry["correct"])
    bars = [(c, float(right), float(accepted - right)) for c, (accepted, right) in counts.items()]
    title = f"Accepted labels per class: {strategy_title(name)}, round {last}, all seeds"
    marks = [("hue-right", "right"), ("hue-wrong", "wrong")]
    chart = Grid([Figure(class_figures.class_labels(bars), title)], marks)
    body = [[c, str(n), str(right), f"{100 * right / n:.1f}" if n else "–"] for c, (n, right) in counts.items()]
    table = Table("labels-per-class", ["Class", "#Accepted", "#Right", "#Precision"], body)
    if len(counts) <= class_figures.BESIDE:
        yield Columns([chart, table])
    else:
        yield from (chart, Fold("The same as a table", [table]))


def scores(run: RunFolder) -> Section:
    """Histograms of p_A, p_E and p for right and wrong labels; reliability curves."""
    lead = "How well confidence tells right labels from wrong ones: before the threshold, seeds together."
    blocks: list[Block] = []
    main = run.main_strategy()
    for name in [n for n in run.strategies() if any(s.rounds for _, s in run.runs(n))]:
        parts = list(_histograms(run, name))
        if parts:
            blocks.append(Fold(strategy_title(name), parts, opened=name == main))
    blocks.sort(key=lambda b: not (isinstance(b, Fold) and b.opened))
    if not blocks:
        blocks.append(Note(NOT_YET + "no pseudo-label table to draw."))
    return Section("scores", "Confidence", [*blocks, *_reliability(run)], lead)


def _threshold(run: RunFolder) -> float | None:
    found = [v for key, v in leaves(run.config) if key.split(".")[-1] == "theta" and isinstance(v, float | int)]
    return float(found[0]) if found else None


def _tables(run: RunFolder, name: str) -> dict[int, list[LabelColumns]]:
    """Read the pseudo-label tables of all seeds by round."""
    out: dict[int, list[LabelColumns]] = {}
    for _, strategy in run.runs(name):
        for entry in strategy.rounds:
            if entry.table is not None:
                table = attempt(run, entry.table, lambda path: read_labels(path, run.truth))
                if table is not None:
                    out.setdefault(entry.round, []).append(table)
    return out


def _histograms(run: RunFolder, name: str) -> Iterator[Block]:
    marks = [("hue-right", "label right (up)"), ("hue-wrong", "label wrong (down)")]
    for number, tables in sorted(_tables(run, name).items()):
        drawn = []
        for score, column, label in (
            ("p_A", "p_a_max", "label_a"),
            ("p_E", "p_e_max", "label_e"),
            ("p", "p_max", "label"),
        ):
            right, value = _pooled(tables, label, column)
            if len(value):
                theta = _threshold(run) if score == "p" and name in THRESHOLD_ON_P else None
                svg = figures.score_histogram(value, right, f"max {score}", theta)
                drawn.append(Figure(svg, f"{score}, round {number}"))
        if drawn:
            yield Grid(drawn, marks)


def _reliability(run: RunFolder) -> Iterator[Block]:
    """Calibration of the test predictions of every strategy and of the main strategy's p in every round."""
    curves, body = [], []
    for name in run.strategies():
        read = [attempt(run, s.predictions, read_predictions) for _, s in run.runs(name) if s.predictions]
        there = [r for r in read if r is not None and len(r[0])]
        if there:
            right, confidence = (np.concatenate([r[i] for r in there]) for i in (0, 1))
            found = figures.calibration(right.astype(bool), confidence.astype(float))
            curves.append((hue(name), strategy_title(name), found))
            numbers = (confidence.mean(), right.mean(), found.ece)
            body.append([strategy_title(name), str(len(right)), *(f"{100 * v:.1f}" for v in numbers)])
    if not curves:
        yield Note(NOT_YET + "no test predictions for a reliability curve.")
        return
    head = ["Predictions", "#Clips", "#Confidence", "#Right", "#Error"]
    remark = "Percent; error = expected calibration error, 10 bins. On the dashed line confidence is right."
    yield Columns(
        [
            _curves(curves, "Reliability on the test clips", "confidence of the prediction (max p), %"),
            *_pool_reliability(run, body),
        ]
    )
    yield Table("calibration", head, body, remark)


def _curves(curves: Sequence[tuple[str, str, figures.Reliability]], title: str, x_label: str) -> Grid:
    return Grid([Figure(figures.reliability(curves, x_label), title)], [(h, t) for h, t, _ in curves])


def _pool_reliability(run: RunFolder, body: list[list[str]]) -> Iterator[Block]:
    """Calibration of the main strategy's p over the unlabelled pool, first and last round; adds rows to the table."""
    name = run.main_strategy()
    tables = _tables(run, name or "")
    curves = []
    for number, look in {min(tables, default=0): "hue-shared", max(tables, default=0): hue(name or "")}.items():
        right, p = _pooled(tables.get(number, []), "label", "p_max")
        if len(p) and p.max() < 1 + 1e-6:  # the sum of p_A and p_E is no probability
            found = figures.calibration(right, p)
            curves.append((look, f"{strategy_title(name or '')}, pool, round {number}", found))
            body.append([curves[-1][1], str(len(p)), *(f"{100 * v:.1f}" for v in (p.mean(), right.mean(), found.ece))])
    if curves:
        yield _curves(curves, "Reliability on the pool", "confidence of the label (max p), %")


def _pooled(tables: Sequence[LabelColumns], label: str, score: str) -> tuple[Bools, Floats]:
    """Join tables: whether `label` is the hidden truth, and `score`, of the valid clips where both are known."""
    right, values = [np.empty(0, np.bool_)], [np.empty(0)]
    for t in tables:
        value: Floats = getattr(t, score)
        use = t.valid & (t.truth >= 0) & np.isfinite(value)
        right.append((getattr(t, label) == t.truth)[use])
        values.append(value[use])
    return np.concatenate(right), np.concatenate(values)


def classes(run: RunFolder) -> Section:
    """Accuracy per class and confusions of the main strategy, summed over seeds."""
    name = run.main_strategy()
    main = _per_class(run, name or "")
    if not main or name is None:
        return Section("classes", "Classes", [Note(NOT_YET + "no evaluation.")])
    base = _per_class(run, "supervised") if name != "supervised" else {}
    pairs = [
        class_figures.ClassPair(c, base[c][1] / base[c][0] if base.get(c, (0, 0))[0] else None, right / n)
        for c, (n, right) in main.items()
        if n
    ]
    titles = (strategy_title("supervised"), strategy_title(name))
    drawn = class_figures.class_accuracy(pairs, (hue("supervised"), hue(name)), titles)
    remark = "" if len(pairs) <= class_figures.ALL_BARS else "The largest gains and losses; all classes in the table."
    marks = [("ring hue-supervised", titles[0]), (hue(name), titles[1])] if base else [(hue(name), titles[1])]
    head = ["Class", "#Test clips", f"#{titles[1]}", *([f"#{titles[0]}", "#Gain"] if base else [])]
    body = [_class_row(c, main, base) for c in main]
    accuracy = Grid([Figure(drawn, "Accuracy per class, seeds together", remark)], marks)
    matrix, *worst = _confusions(run, name)
    small = len(run.classes) <= class_figures.BESIDE
    table = Table("per-class", head, body, "Percent of the test clips of all seeds.")
    blocks = [Columns([accuracy, matrix]), *worst] if small else [Columns([accuracy, *worst]), matrix]
    return Section("classes", "Classes", [*blocks, Fold("Accuracy per class as a table", [table])])


def _per_class(run: RunFolder, name: str) -> dict[str, tuple[int, float]]:
    """Sum test clips and right ones per class over seeds."""
    out: dict[str, tuple[int, float]] = {}
    for _, strategy in run.runs(name):
        for entry in (strategy.metrics or {}).get("per_class", []):
            label, n = run.class_name(entry["class"]), int(entry["n"])
            before = out.get(label, (0, 0.0))
            out[label] = (before[0] + n, before[1] + n * float(entry["accuracy"] or 0.0 if n else 0.0))
    return out


def _class_row(name: str, main: Mapping[str, tuple[int, float]], base: Mapping[str, tuple[int, float]]) -> list[str]:
    def share(of: Mapping[str, tuple[int, float]]) -> float | None:
        n, right = of.get(name, (0, 0.0))
        return 100 * right / n if n else None

    now, before = share(main), share(base)
    cells = [name, str(main[name][0]), "–" if now is None else f"{now:.1f}"]
    if base:
        known = now is not None and before is not None
        cells += ["–" if before is None else f"{before:.1f}", f"{now - before:+.1f}" if known else "–"]  # type: ignore[operator]
    return cells


def _confusions(run: RunFolder, name: str) -> Iterator[Block]:
    matrices = [
        np.asarray(s.metrics["confusion"]) for _, s in run.runs(name) if s.metrics and s.metrics.get("confusion")
    ]
    shapes = {m.shape for m in matrices}
    if len(shapes) != 1 or len(run.classes) != next(iter(shapes))[0]:
        yield Note(NOT_YET + "no confusion matrix of the run's classes.")
        return
    total = np.sum(matrices, axis=0).astype(np.int64)
    small, names = class_figures.aggregate(total, run.classes)
    rest = -1 if len(names) == len(run.classes) else len(names) - 1
    remark = "" if rest < 0 else "The classes with most errors; the others are summed (grey: among themselves)."
    title = f"Confusion, {strategy_title(name)}, seeds together"
    marks = [("hue-right", "recognised"), ("hue-wrong", "taken for another; ink = share of the row")]
    yield Grid([Figure(class_figures.confusion_matrix(small, names, rest), title, remark, wide=True)], marks)
    wrong = total - np.diag(np.diag(total))
    order = [int(i) for i in np.argsort(-wrong, axis=None, kind="stable")[:12] if wrong.flat[i] > 0]
    rows = [
        [run.classes[i], run.classes[j], str(wrong[i, j]), f"{100 * wrong[i, j] / total[i].sum():.1f}"]
        for i, j in (divmod(k, len(run.classes)) for k in order)
    ]
    if rows:
        yield Table(
            "confusions", ["True class", "Taken for", "#Clips", "#% of the class"], rows, "Most frequent confusions."
        )


def alignment(run: RunFolder) -> Section:
    """The pictures of a same-class and a different-class pair."""
    lead = "Cost of matching each frame of one clip with each of another; dots: the path soft-DTW takes, area = weight."
    name = run.main_strategy()
    files = [(seed, s.examples) for seed, s in run.runs(name or "") if s.examples]
    if not files:
        return Section("alignment", "Alignment", [Note(NOT_YET + "no example pairs (evaluation/examples.npz).")], lead)
    seed, path = files[0]
    drawn = attempt(run, path, lambda p: _pairs(run, p))
    blocks: list[Block] = [Grid(drawn)] if drawn else [Note(NOT_YET + "no example pair could be drawn.")]
    return Section("alignment", "Alignment", [*blocks, Note(f"{strategy_title(name or '')}, seed {seed}.")], lead)


def _pairs(run: RunFolder, path: Path) -> list[Figure]:
    drawn = []
    with np.load(path, allow_pickle=False) as examples:
        for kind in ("same", "different"):
            if f"{kind}_cost" not in examples:
                continue
            names = alignment_figure.pair_names(examples, kind, run.truth, run.classes)
            cost, soft = (np.asarray(examples[f"{kind}_{part}"], float) for part in ("cost", "alignment"))
            frames_u, frames_v = (np.asarray(examples[f"{kind}_frames_{clip}"], np.uint8) for clip in ("u", "v"))
            svg = alignment_figure.alignment(cost, soft, frames_u, frames_v, names)
            score, distance = (float(examples[f"{kind}_{part}"]) for part in ("score", "distance"))
            title = "Same class" if kind == "same" else "Different classes"
            drawn.append(Figure(svg, title, f"alignability S = {score:.3f}, soft-DTW distance D = {distance:.3f}"))
    return drawn
