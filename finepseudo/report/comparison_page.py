"""The table of compared methods as cells, and these as a part of the report, CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from finepseudo.methods.table import REFERENCE
from finepseudo.report.blocks import NOT_YET, Block, Fold, Note, Section, Table
from finepseudo.report.comparison import ComparedRow, compare, remarks, remarks_on_cost
from finepseudo.report.comparison_reading import read_results
from finepseudo.report.published import Published, beside, read_published
from finepseudo.report.reading import RunFolder
from finepseudo.report.summary import Stat
from finepseudo.report.table_text import latex_table, markdown_table

TOOK = (
    "Steps and clips are those of f_E from its start on, other steps those of other networks; hours are of all "
    "trainings that the method rests on, one a GPU or CPU."
)
LEAD = (
    "Test accuracy in percent, mean ± sample standard deviation over seeds (label draws). Gain: top-1 less that of "
    f"{REFERENCE} on the same seed and labels, with the same settings of f_E and its test; on how many seeds it is "
    f"above, below, equal. Precision and coverage are of the last pseudo-labels. {TOOK}"
)
OTHER = "other protocol"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All that is written: rows, published numbers beside them, why cells are blank."""

    rows: Sequence[ComparedRow]
    published: Sequence[Published]
    notes: Sequence[str]

    @property
    def shares(self) -> list[tuple[str, float]]:
        """Data sets and shares of labels of the published numbers: a column each."""
        return sorted({(number.dataset, number.labels_percent) for number in self.published})

    @property
    def sources(self) -> str:
        """Say what the published numbers are and where they stand."""
        where = "; ".join(sorted({f"{n.dataset}: {n.source}" for n in self.published}))
        return f"Columns marked `{OTHER}`: top-1 of papers, with other splits, starts and tests. {where}."

    def beside(self, row: ComparedRow, share: tuple[str, float]) -> list[Published]:
        """Find what was published of a row's method."""
        return [n for n in self.published if n.method == row.method and (n.dataset, n.labels_percent) == share]


def comparison_of(runs: Sequence[RunFolder]) -> Comparison:
    """Compare all methods of some runs."""
    rows = compare(read_results(runs), REFERENCE)
    datasets = sorted({run.dataset for run in runs if run.dataset})
    methods = {row.method for row in rows}
    found = [n for n in beside(read_published(), datasets, _ratio(runs)) if n.method in methods]
    notes = list(remarks(rows, REFERENCE))
    made = Comparison(rows=rows, published=found, notes=notes)
    if found:
        notes.append(made.sources)
    elif rows:
        notes.append(f"No published numbers of these methods are known for {', '.join(datasets) or 'this data set'}.")
    return made


def _ratio(runs: Sequence[RunFolder]) -> float | None:
    """Give the share of labels where all runs have the same."""
    found = {str(s.split.ratio) for run in runs for s in run.seeds if s.split}
    try:
        return float(found.pop()) if len(found) == 1 else None
    except ValueError:
        return None


def _percent(stat: Stat, *, sign: bool = False) -> str:
    return stat.percent(sign=sign) if stat.values else ""


def _count(stat: Stat) -> str:
    if not stat.values:
        return ""
    low, high = min(stat.values), max(stat.values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def _hours(row: ComparedRow) -> str:
    return f"{row.hours.mean:.2g} {row.device}".strip() if row.hours.mean is not None else ""


Cell = Callable[[ComparedRow], str]
COLUMNS: dict[str, Cell] = {
    "Method": lambda row: row.name,
    "#Seeds": lambda row: str(len(row.seeds)),
    "#Top-1": lambda row: _percent(row.top1),
    "#Mean class": lambda row: _percent(row.mean_class),
    "#Gain": lambda row: _percent(row.gain, sign=True),
    "#Gain by seed": lambda row: ", ".join(f"{100 * value:+.1f}" for _, value in row.gains),
    "#+ / - / =": lambda row: " / ".join(map(str, row.signs)) if row.gains else "",
    "#Precision": lambda row: _percent(row.precision),
    "#Coverage": lambda row: _percent(row.coverage),
    "#Steps": lambda row: _count(row.steps),
    "#Other steps": lambda row: _count(row.other_steps),
    "#Clips": lambda row: _count(row.clips),
    "#Hours": _hours,
}
"""Columns for readers; blank where nothing is known."""


def cells(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Give head and body of the table for readers."""
    head = [*COLUMNS, *_published_heads(found)]
    body = [
        [
            *(cell(row) for cell in COLUMNS.values()),
            *("; ".join(n.text for n in found.beside(row, share)) for share in found.shares),
        ]
        for row in found.rows
    ]
    return head, body


def beside_results(run: RunFolder) -> list[Block]:
    """Write what a report says of one run beside its accuracies: what each method took, and what papers reached."""
    found = comparison_of([run])
    if not found.rows:
        return []
    took = _some("took", found, ["Method", "#Steps", "#Other steps", "#Clips", "#Hours"], TOOK)
    blocks: list[Block] = [Fold("What each method took", [took, *map(Note, remarks_on_cost(found.rows))], opened=True)]
    if found.published:
        names = ["Method", "#Top-1", *_published_heads(found)]
        blocks.append(Fold("Published numbers", [_some("published", found, names, found.sources)], opened=True))
    return blocks


def _some(name: str, found: Comparison, columns: Sequence[str], caption: str) -> Table:
    """Take some columns of the table; a dash where nothing is known."""
    head, body = cells(found)
    places = [head.index(column) for column in columns]
    return Table(name, columns, [[row[place] or "–" for place in places] for row in body], caption)


def _published_heads(found: Comparison) -> list[str]:
    return [f"#{dataset} {percent:g} %, {OTHER}" for dataset, percent in found.shares]


def part(found: Comparison) -> Section:
    """Write the table as a part of a page."""
    if not found.rows:
        return Section("compare", "Comparison", [Note(NOT_YET + "no method has run.")], LEAD)
    blocks: list[Block] = [Table("compare-methods", *cells(found)), *map(Note, found.notes)]
    return Section("compare", "Comparison", blocks, LEAD)


def markdown(found: Comparison) -> str:
    """Write the table with aligned columns, then the notes."""
    return markdown_table(*cells(found), LEAD, found.notes)


def latex(found: Comparison) -> str:
    """Write the table for the package booktabs, with the notes as comments."""
    return latex_table(*cells(found), (LEAD, *found.notes))


def as_csv(found: Comparison) -> str:
    """Write every number unrounded, fractions of 1; blank where it is not known."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    shares = [f"{dataset} {percent:g} % top1 percent, {OTHER}" for dataset, percent in found.shares]
    for number, row in enumerate(found.rows):
        numbers = dict(_numbers(row))
        if not number:
            writer.writerow([*numbers, *shares])
        writer.writerow([*numbers.values(), *("; ".join(n.text for n in found.beside(row, s)) for s in found.shares)])
    return stream.getvalue()


def _numbers(row: ComparedRow) -> Iterator[tuple[str, object]]:
    yield from (("method", row.method), ("variant", row.variant), ("seeds", " ".join(map(str, row.seeds))))
    for name in ("top1", "mean_class", "gain", "precision", "coverage", "steps", "other_steps", "clips", "hours"):
        stat: Stat = getattr(row, name)
        yield f"{name}_mean", "" if stat.mean is None else stat.mean
        yield f"{name}_std", "" if stat.std is None else stat.std
    yield "gain_each_seed", " ".join(f"{seed}:{value}" for seed, value in row.gains)
    signs = row.signs if row.gains else ("", "", "")
    yield from zip(("seeds_above", "seeds_below", "seeds_equal"), signs, strict=True)
    yield "device", row.device
