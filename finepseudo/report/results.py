"""The parts of the page about the table of methods and the pseudo-labels of each round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from finepseudo.methods.table import title as method_title
from finepseudo.report import class_figures, figures
from finepseudo.report.blocks import NOT_YET, Block, Columns, Figure, Fold, Grid, Note, Section, Table, Tile
from finepseudo.report.figures import hue, legend
from finepseudo.report.reading import RunFolder
from finepseudo.report.summary import RoundSummary, Stat, SummaryRow

ROUNDS = (
    "Percent, mean ± standard deviation over seeds. Expected: how many should be right, by held-out labelled clips or "
    "else by the confidence."
)
VOTED = {"action": "f_E", "frame": "f_A", "mean": "the mean of f_E and f_A"}
UNJUDGED = "The class of the pool clips is not known, so nobody can say how many of the labels are right."

VOTES = (
    "Top-1 is that of f_E, as in the papers. f_A answers alone by its gallery of labelled clips; the mean vote is the "
    "mean of both. Pair AP: how well f_A tells test clips of one class from clips of two."
)


def tiles(run: RunFolder, rows: Sequence[SummaryRow], wall: str) -> list[Tile]:
    """Choose the numbers to take away."""
    main = next((r for r in rows if r.method == run.main_method()), None)
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
        if last.precision.values:
            out.append(Tile(last.precision.percent(), "%", "of them right"))
    return [*out, Tile(wall, "", "wall time")]


def headline(rows: Sequence[SummaryRow], name: str | None, more: Sequence[Block] = ()) -> Section:
    """Table and dots: methods over seeds; `name` is the one to look at; more: what follows, where something ran."""
    lead = "Test accuracy in percent, mean ± standard deviation over seeds (label splits); gain is paired by seed."
    if not rows:
        return Section("results", "Results", [Note(NOT_YET + "no method has run.")], lead)
    columns = _columns(rows)
    main = next((i for i, r in enumerate(rows) if r.method == name), -1)
    blocks: list[Block] = [Table("headline", [*columns], [[c(r) for c in columns.values()] for r in rows], strong=main)]
    if any(r.top1.values for r in rows):
        dots = [(hue(r.method), r.title, r) for r in rows]
        blocks.append(
            Grid(
                [
                    Figure(figures.method_dots([(h, t, r.top1) for h, t, r in dots], "top-1, %"), "Top-1"),
                    Figure(figures.method_dots([(h, t, r.mean_class) for h, t, r in dots], "%"), "Mean over classes"),
                ]
            )
        )
        blocks.append(Note("Each ring is one seed, each bar the mean."))
        blocks += [Note(VOTES)] if "#f_A" in columns else []
        blocks += [
            Note(f"{r.title}, seed {s}: the answer is that of {VOTED.get(v, v)}; {why}.")
            for r in rows
            for s, v, why in r.chosen
        ]
    else:
        blocks.append(Note(NOT_YET + "no method has been evaluated."))
    return Section("results", "Results", [*blocks, *more], lead)


def _columns(rows: Sequence[SummaryRow]) -> dict[str, Callable[[SummaryRow], str]]:
    """Name the columns of the table of methods: those that say something of these rows."""
    several = any(len(r.gain.values) > 1 for r in rows)
    top5, aligned = any(r.top5.values for r in rows), any(r.chosen for r in rows)
    columns: dict[str, tuple[bool, Callable[[SummaryRow], str]]] = {
        "Method": (True, lambda r: r.title),
        "#Seeds": (True, lambda r: str(len(r.seeds))),
        "#Top-1": (True, lambda r: r.top1.percent()),
        "#f_A": (aligned, lambda r: r.frame.percent()),
        "#Mean vote": (aligned, lambda r: r.both.percent()),
        "#Pair AP": (aligned, lambda r: r.verification.percent()),
        "#Gain": (True, lambda r: r.gain.percent(sign=True)),
        "#Gain by seed": (several, lambda r: ", ".join(f"{100 * g:+.1f}" for g in r.gain.values) or "–"),
        "#Top-5": (top5, lambda r: r.top5.percent()),
        "#Mean class": (True, lambda r: r.mean_class.percent()),
        "#Labels, last round": (True, lambda r: r.rounds[-1].accepted.count() if r.rounds else "–"),
        "#Precision": (True, lambda r: r.rounds[-1].precision.percent() if r.rounds else "–"),
    }
    return {name: cell for name, (shown, cell) in columns.items() if shown}


def pseudo_labels(run: RunFolder, rows: Sequence[SummaryRow]) -> Section:
    """Count, coverage and precision per round; accepted labels per class."""
    with_rounds = [r for r in rows if r.rounds]
    lead = "Where the class of a pool clip is known it is looked up by key, for this report only."
    if not with_rounds:
        return Section("labels", "Pseudo-labels", [Note(NOT_YET + "no pseudo-labels have been made.")], lead)
    head = ["Method", "#Round", "#Accepted", "#Coverage", "#Expected", "#Precision", "#Precision f_A", "#Precision f_E"]
    body = [[r.title, str(x.round), *_labels_row(x)] for r in with_rounds for x in r.rounds]

    def chart(title: str, value: Callable[[RoundSummary], Stat], unit: str, *, fraction: bool = True) -> Figure:
        series = [(hue(r.method), r.title, {x.round: value(x) for x in r.rounds}) for r in with_rounds]
        return Figure(figures.per_round(series, unit, fraction=fraction), title)

    judged = any(x.precision.values for r in with_rounds for x in r.rounds)
    charts = [
        *([chart("Precision", lambda x: x.precision, "% of accepted labels right")] if judged else []),
        chart("Coverage", lambda x: x.coverage, "% of the pool accepted"),
        chart("Accepted labels", lambda x: x.accepted, "labels", fraction=False),
    ]
    blocks: list[Block] = [
        Grid(charts, legend([r.method for r in with_rounds])),
        Table("rounds", head, body, ROUNDS),
        *([] if judged else [Note(UNJUDGED)]),
        *_labels_per_class(run),
    ]
    return Section("labels", "Pseudo-labels", blocks, lead)


def _labels_row(x: RoundSummary) -> list[str]:
    stats = (x.coverage, x.expected, x.precision, x.precision_a, x.precision_e)
    return [x.accepted.count(), *(s.percent() for s in stats)]


def _labels_per_class(run: RunFolder) -> Iterator[Block]:
    """Accepted labels of the main method's last round, summed over seeds."""
    name = run.main_method()
    rounds = [(r.round, r.metrics) for _, s in run.runs(name or "") for r in s.rounds if r.metrics]
    if not rounds or name is None:
        return
    last = max(n for n, _ in rounds)
    counts: dict[str, list[int]] = {c: [0, 0, 0] for c in run.classes}
    for metrics in (m for n, m in rounds if n == last):
        for entry in metrics.get("per_class", []):
            count = counts.setdefault(run.class_name(entry["class"]), [0, 0, 0])
            for place, column in enumerate(("accepted", "judged", "correct")):
                count[place] += int(entry.get(column, entry["accepted"]))  # older records judged every label
    bars = [class_figures.ClassLabels(c, right, judged - right, n - judged) for c, (n, judged, right) in counts.items()]
    title = f"Accepted labels per class: {method_title(name)}, round {last}, all seeds"
    marks = [("hue-right", "right"), ("hue-wrong", "wrong")] if any(bar.right + bar.wrong for bar in bars) else []
    marks += [("hue-shared", "class not known")] if any(bar.unjudged for bar in bars) else []
    chart = Grid([Figure(class_figures.class_labels(bars), title)], marks)
    body = [
        [c, str(n), str(judged), str(right), f"{100 * right / judged:.1f}" if judged else "–"]
        for c, (n, judged, right) in counts.items()
    ]
    table = Table("labels-per-class", ["Class", "#Accepted", "#Judged", "#Right", "#Precision"], body)
    if len(counts) <= class_figures.BESIDE:
        yield Columns([chart, table])
    else:
        yield from (chart, Fold("The same as a table", [table]))
