"""The parts of the page about classes (accuracy, confusions) and about two aligned pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from finepseudo.methods.table import REFERENCE
from finepseudo.methods.table import title as method_title
from finepseudo.report import alignment_figure, class_figures
from finepseudo.report.blocks import NOT_YET, Block, Columns, Figure, Fold, Grid, Note, Section, Table
from finepseudo.report.figures import hue
from finepseudo.report.reading import RunFolder
from finepseudo.report.tables import attempt


def classes(run: RunFolder) -> Section:
    """Accuracy per class and confusions of the main method, summed over seeds."""
    name = run.main_method()
    main = per_class(run, name or "")
    if not main or name is None:
        return Section("classes", "Classes", [Note(NOT_YET + "no evaluation.")])
    base = per_class(run, REFERENCE) if name != REFERENCE else {}
    pairs = [
        class_figures.ClassPair(c, base[c][1] / base[c][0] if base.get(c, (0, 0))[0] else None, right / n)
        for c, (n, right) in main.items()
        if n
    ]
    titles = (method_title(REFERENCE), method_title(name))
    drawn = class_figures.class_accuracy(pairs, (hue(REFERENCE), hue(name)), titles)
    remark = "" if len(pairs) <= class_figures.ALL_BARS else "The largest gains and losses; all classes in the table."
    marks = [(f"ring {hue(REFERENCE)}", titles[0]), (hue(name), titles[1])] if base else [(hue(name), titles[1])]
    head = ["Class", "#Test clips", f"#{titles[1]}", *([f"#{titles[0]}", "#Gain"] if base else [])]
    body = [_class_row(c, main, base) for c in main]
    accuracy = Grid([Figure(drawn, "Accuracy per class, seeds together", remark)], marks)
    matrix, *worst = _confusions(run, name)
    small = len(run.classes) <= class_figures.BESIDE
    table = Table("per-class", head, body, "Percent of the test clips of all seeds.")
    blocks = [Columns([accuracy, matrix]), *worst] if small else [Columns([accuracy, *worst]), matrix]
    return Section("classes", "Classes", [*blocks, Fold("Accuracy per class as a table", [table])])


def per_class(run: RunFolder, name: str) -> dict[str, tuple[int, float]]:
    """Sum test clips and right ones per class over seeds."""
    out: dict[str, tuple[int, float]] = {}
    for _, method in run.runs(name):
        for entry in (method.metrics or {}).get("per_class", []):
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
    title = f"Confusion, {method_title(name)}, seeds together"
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
    """The images of a same-class and a different-class pair."""
    lead = "Cost of matching each frame of one clip with each of another; dots: the path soft-DTW takes, area = weight."
    names = [n for n in (run.main_method(), *run.methods()) if n]
    files = [(f"{method_title(n)}, seed {seed}", s.examples) for n in names for seed, s in run.runs(n) if s.examples]
    if not files:
        return Section("alignment", "Alignment", [Note(NOT_YET + "no example pairs (evaluation/examples.npz).")], lead)
    source, path = files[0]
    drawn = attempt(run, path, lambda p: _pairs(run, p))
    blocks: list[Block] = [Grid(drawn)] if drawn else [Note(NOT_YET + "no example pair could be drawn.")]
    return Section("alignment", "Alignment", [*blocks, Note(f"{source}.")], lead)


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
