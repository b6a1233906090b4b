"""Several runs beside each other: what each class gains from one to the next, and the keys by which they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from finepseudo.methods.table import title as method_title
from finepseudo.report.blocks import NOT_YET, Block, Note, Section, Table
from finepseudo.report.classes import per_class
from finepseudo.report.comparison_reading import leaves
from finepseudo.report.reading import RunFolder

LEAD = (
    "Accuracy of each class in percent of the test clips of all seeds, a column for each run and method; spread: the "
    "best less the worst. Below it, the keys by which the runs differ."
)
OF_THE_PLACE = {"name", "out", "resources"}
"""Sections that say where and on what a run was made."""


def section(runs: Sequence[RunFolder]) -> Section:
    """Write both tables."""
    columns = {
        (f"{run.root.resolve().name}: " if len(runs) > 1 else "") + method_title(name): per_class(run, name)
        for run in runs
        for name in run.methods()
    }
    known = {title: shares for title, shares in columns.items() if shares}
    if not known:
        return Section("beside", "Side by side", [Note(NOT_YET + "no evaluation.")], LEAD)
    names = dict.fromkeys(name for shares in known.values() for name in shares)
    head = ["Class", *(f"#{title}" for title in known), "#Spread"]
    blocks: list[Block] = [Table("classes-beside", head, [_row(name, [*known.values()]) for name in names])]
    if len(runs) > 1:
        blocks.append(_settings(runs))
    return Section("beside", "Side by side", blocks, LEAD)


def _row(name: str, columns: Sequence[Mapping[str, tuple[int, float]]]) -> list[str]:
    found = [shares.get(name, (0, 0.0)) for shares in columns]
    percent = [100 * right / n if n else None for n, right in found]
    told = [value for value in percent if value is not None]
    cells = ["–" if value is None else f"{value:.1f}" for value in percent]
    return [name, *cells, f"{max(told) - min(told):.1f}" if told else "–"]


def _settings(runs: Sequence[RunFolder]) -> Block:
    """List the keys that have not one value in all runs; a key that a run lacks is a dash."""
    values = [
        {
            key: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, part in run.config.items()
            if name not in OF_THE_PLACE
            for key, value in leaves(part, name)
        }
        for run in runs
    ]
    keys = dict.fromkeys(key for found in values for key in found)
    rows = [[key, *(found.get(key, "–") for found in values)] for key in keys if len({f.get(key) for f in values}) > 1]
    if not rows:
        return Note("The runs have the same settings.")
    return Table("settings-beside", ["Key", *(run.root.resolve().name for run in runs)], rows)
