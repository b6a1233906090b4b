"""A table of a paper: `finepseudo/recipes/paper/<name>.yaml` holds its rows, columns and published numbers.

A cell is a row's method under the keys of table, column and row, laid over a recipe in this order. `keys` hold at every
size, `full` at the paper's alone, `small` with `--synthetic` alone, where all recipes give way to `paper_small`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from finepseudo.run_folder.yaml_text import NoYaml, read_yaml
from jobs.config.build import build
from jobs.config.recipes import RECIPES
from shards.errors import UserError

TABLES = RECIPES / "paper"
SMALL = "paper_small"
"""The recipe of every run with --synthetic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What a table, a column or a row adds: a recipe in the place of the one before, and keys (dotted) over it."""

    recipe: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    full: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)

    def laid(self, *, small: bool) -> dict[str, Any]:
        """Give its keys at one of the two sizes."""
        return {**self.keys, **(self.small if small else self.full)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Column(Part):
    """A column: what is measured (`jobs.paper.measures`) under which keys; until: of which stage on nothing is run."""

    name: str
    measure: str = ""
    until: Literal["report", "pretrain"] = "report"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(Part):
    """A row: a method, or none where only the paper has numbers.

    published: a number a column in the paper's units, null where the paper has no such cell, which is not run either;
    nothing at all where the numbers are not known. source: of these numbers, where it is not the table's. files: it
    wants files that no one has of rendered dives, so --synthetic leaves it out. of: the part of the data set
    that alone is measured, the last word of the measure.
    """

    name: str
    method: str = ""
    measure: str = ""
    published: tuple[float | None, ...] = ()
    source: str = ""
    files: bool = False
    of: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTable(Part):
    """A whole table. source: where its numbers stand; notes: what a reader has to know beside them."""

    title: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    name: str = ""

    def published(self, row: Row, column: Column) -> float | None:
        """Give the number of a cell, None where there is none."""
        return row.published[self.columns.index(column)] if row.published else None

    @staticmethod
    def measure(row: Row, column: Column) -> str:
        """Name what a cell shows: the row's words, then the column's; top-1 where neither says anything."""
        return "_".join(word for word in (row.measure, column.measure, row.of) if word) or "top1"

    def is_run(self, row: Row, column: Column, *, small: bool) -> bool:
        """Tell whether a cell is one of ours."""
        if not row.method or (small and row.files):
            return False
        return not row.published or self.published(row, column) is not None


def table_names() -> list[str]:
    """List the tables."""
    return sorted(path.stem for path in TABLES.glob("*.yaml"))


def read_table(name: str) -> PaperTable:
    """Read a table by its name (table6 is table06); UserError, with all there are, where there is none."""
    known = table_names()
    padded = re.sub(r"(?<=[a-z])(?=\d$)", "0", name.lower())
    found = next((one for one in (name, padded) if one in known), None)
    if found is None:
        raise UserError(f"reproduce: no table is called {name}; there are {', '.join(known)}")
    return read_table_file(TABLES / f"{found}.yaml")


def read_table_file(path: Path) -> PaperTable:
    """Read a table from a file and check that its rows fit its columns."""
    try:
        values = read_yaml(path)
    except NoYaml as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    table = build(PaperTable, {**values, "name": path.stem} if isinstance(values, dict) else values, path.stem)
    for row in table.rows:
        if row.published and len(row.published) != len(table.columns):
            raise UserError(
                f"{path.stem}: row {row.name!r} has {len(row.published)} published numbers for {len(table.columns)} "
                "columns; write null where there is none"
            )
    return table
