"""Ours beside the published numbers: what the runs of a table have left, as text for readers and for programs."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finepseudo.report.blocks import Alarm, Note, Page, Section, Table
from finepseudo.report.summary import Stat
from finepseudo.report.table_text import latex_table, markdown_lines, markdown_page, markdown_table
from finepseudo.report.writing import render_page
from finepseudo.run_folder.files import write_text
from finepseudo.run_folder.layout import RunPaths
from jobs.paper.cells import PaperRun, Size
from jobs.paper.measures import Measure, measure
from jobs.paper.table import Column, PaperTable, Row

WIDTH = 120
"""Characters of a line where there is no terminal."""
OURS = {False: "ours", True: "synthetic"}
"""What our numbers are called, by whether they are of rendered dives."""
HEAD = (
    "%s: mean ± sample standard deviation over label draws, in percent unless the column says otherwise. Published: "
    "as printed, with other label draws, and other starts and tests where the notes say so."
)
SMALL = (
    "Rendered dives at a small size (--synthetic): the same code, every stage of it; the numbers mean nothing and the "
    "published ones are of other data."
)
ALIKE = (
    "Cells with one number: what tells their rows or columns apart (shares of labels, data sets, encoders, weights) "
    "holds at the papers' size alone."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number of the table: ours over label draws, and the published one."""

    row: Row
    column: Column
    run: PaperRun | None
    measure: Measure
    stat: Stat
    published: float | None


def cells_of(table: PaperTable, runs: Sequence[PaperRun]) -> list[Cell]:
    """Read what the runs have left, row by row."""
    made = {(id(row), id(column)): run for run in runs for row, column in run.cells}
    found = []
    for row in table.rows:
        for column in table.columns:
            run, how = made.get((id(row), id(column))), measure(table.measure(row, column))
            values = [how.read(RunPaths(run.cfg.folder), seed, row.method) for seed in run.draws] if run else []
            published = table.published(row, column)
            cell = Cell(row=row, column=column, run=run, measure=how, stat=Stat.of(values), published=published)
            found.append(cell)
    return found


def table_of(table: PaperTable, size: Size, cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Lay the cells out: two columns each, ours and the published one where there is any."""
    known = [c for c in table.columns if any(cell.published is not None for cell in cells if cell.column is c)]
    head = ["Method"]
    for column in table.columns:
        head += [f"#{column.name}, {OURS[size.small]}", *([f"#{column.name}, published"] if column in known else [])]
    body = []
    for row in table.rows:
        line = [row.name]
        for cell in (cell for cell in cells if cell.row is row):
            published = [cell.measure.printed(cell.published)] if cell.column in known else []
            line += [cell.measure.shown(cell.stat), *published]
        body.append(line)
    return head, body


def below_each_other(table: PaperTable, size: Size, cells: Sequence[Cell], width: int) -> list[list[str]]:
    """Lay the cells out in as many tables as keep lines within a width, in characters; a column is never cut in two."""
    tables: list[list[str]] = []
    group: list[Column] = []
    for column in table.columns:
        lines = _lines_of(table, [*group, column], size, cells)
        if group and len(lines[0]) > width:
            group, lines = [], _lines_of(table, [column], size, cells)
        tables[len(tables) - bool(group) :] = [lines]
        group.append(column)
    return tables


def _lines_of(table: PaperTable, columns: Sequence[Column], size: Size, cells: Sequence[Cell]) -> list[str]:
    some = replace(table, columns=tuple(columns))
    return markdown_lines(*table_of(some, size, [cell for cell in cells if cell.column in columns]))


def notes_of(table: PaperTable, size: Size, cells: Sequence[Cell]) -> list[str]:
    """Say where numbers come from, what is open and what is not there yet."""
    sources = dict.fromkeys([table.source, *(row.source for row in table.rows if row.source)])
    what = "Published" if any(cell.published is not None for cell in cells) else "Protocol"
    ours = [cell for cell in cells if cell.run]
    alike = len({(id(cell.run), cell.row.method, id(cell.measure)) for cell in ours}) < len(ours)
    notes = [f"{what}: {'; '.join(sources)}.", *table.notes, *([ALIKE] if size.small and alike else [])]
    seeds = sorted({cell.run.draws for cell in ours if cell.run})
    notes.append(f"Label draws: {'; '.join(', '.join(map(str, some)) for some in seeds)}.")
    return notes


def alarms_of(size: Size, cells: Sequence[Cell]) -> list[str]:
    """Say what makes the numbers mean less than they seem: rendered dives, and runs that are not at their end."""
    said = [SMALL] if size.small else []
    ours = [(cell, cell.run) for cell in cells if cell.run]
    if names := [run.cfg.name for cell, run in ours if len(cell.stat.values) < len(run.draws)]:
        said.append(f"Not whole yet: {len(names)} of {len(ours)} cells, of the runs {', '.join(dict.fromkeys(names))}.")
    return said


def as_csv(size: Size, cells: Sequence[Cell]) -> str:
    """Write a line a cell, every number unrounded."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["row", "column", "method", "run", "seeds", "size", "mean", "std", "published"])
    writer.writerows(_lines(size, cells))
    return stream.getvalue()


def _lines(size: Size, cells: Sequence[Cell]) -> Iterator[list[object]]:
    for cell in cells:
        run = cell.run.cfg if cell.run else None
        numbers = [cell.stat.mean, cell.stat.std, cell.published]
        if run or cell.published is not None:
            seeds = " ".join(map(str, cell.run.draws)) if cell.run else ""
            about = [cell.row.name, cell.column.name, cell.row.method]
            about += [run.name, seeds, "synthetic" if size.small else "paper"] if run else ["", "", ""]
            yield [*about, *("" if number is None else number for number in numbers)]


def write_result(table: PaperTable, size: Size, runs: Sequence[PaperRun]) -> tuple[str, list[Path]]:
    """Write `<table>.csv`, `.md`, `.tex` and `.html` beside the runs; give the text for a terminal and the paths."""
    cells = cells_of(table, runs)
    head, body = table_of(table, size, cells)
    lead = HEAD % OURS[size.small].capitalize()
    notes, alarms = notes_of(table, size, cells), alarms_of(size, cells)
    title = f"{table.title}, on rendered dives" if size.small else table.title
    section = Section("result", title, [Table(table.name, head, body), *map(Note, notes)], lead)
    said = " ".join([*alarms, lead])
    shown = [Alarm("alarm", text) for text in alarms]
    texts = {
        ".csv": as_csv(size, cells),
        ".md": markdown_table(head, body, said, notes),
        ".tex": latex_table(head, body, [*alarms, lead, *notes]),
        ".html": render_page(Page(title, table.source, tiles=[], alarms=shown, sections=[section])),
    }
    folder = size.folder(table)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{table.name}{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    width = shutil.get_terminal_size((WIDTH, 0)).columns
    return markdown_page(below_each_other(table, size, cells, width), said, notes), paths
