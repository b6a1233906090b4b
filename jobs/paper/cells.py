"""From a table to the runs that it takes: cells with equal keys are methods of one run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from finepseudo.methods.table import in_order
from jobs.config.build import plain
from jobs.config.recipes import load, parse_override
from jobs.config.run import RunConfig
from jobs.paper.table import SMALL, Column, PaperTable, Row
from shards.errors import UserError

OURS = ("name", "methods")
"""Keys that the table sets itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How a table is run: below which folder, small or as in the paper, on which label draws, with which keys more.

    overrides: laid over every cell, but for the keys by which its row or column differs from others.
    """

    out: str = "runs"
    small: bool = False
    seeds: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()

    @staticmethod
    def of(overrides: Sequence[str], *, small: bool, seeds: Sequence[int] = ()) -> Size:
        """Take `out` from the command line's keys; refuse those that the table sets."""
        given = {parse_override(text)[0]: text for text in overrides}
        for key in OURS:
            if key in given:
                raise UserError(f"{given[key]}: the table says that itself; leave it out, or use `finepseudo compare`")
        out = str(parse_override(given.pop("out"))[1]) if "out" in given else "runs"
        return Size(out=out, small=small, seeds=tuple(seeds), overrides=tuple(given.values()))

    def folder(self, table: PaperTable) -> Path:
        """Say where the runs of a table and its files are."""
        return Path(self.out) / ("paper-synthetic" if self.small else "paper") / table.name


@dataclass(kw_only=True, slots=True)
class PaperRun:
    """One run folder of a table, and the cells (row, column) that it fills."""

    cfg: RunConfig
    cells: list[tuple[Row, Column]] = field(default_factory=list)

    @property
    def until(self) -> Literal["report", "pretrain"]:
        """The last stage that it needs."""
        return self.cells[0][1].until

    @property
    def draws(self) -> tuple[int, ...]:
        """The label draws that it has numbers of: a pre-training is one for all."""
        return self.cfg.seeds if self.until == "report" else self.cfg.seeds[:1]

    def has(self, words: Sequence[str]) -> bool:
        """Tell whether a row or column of it has one of these words in its name, or whether there are none."""
        names = [name.lower() for row, column in self.cells for name in (row.name, column.name)]
        return not words or self.cfg.name in words or any(word.lower() in name for word in words for name in names)


def runs_of(table: PaperTable, size: Size) -> list[PaperRun]:
    """Give the runs of a table in the order of its columns; UserError where keys do not fit."""
    asked: dict[str, tuple[str, Mapping[str, Any], list[tuple[Row, Column]]]] = {}
    for column in table.columns:
        for row in table.rows:
            if table.is_run(row, column, small=size.small):
                cell = laid(table, row, column, small=size.small)
                found = asked.setdefault(json.dumps([*cell, column.until], sort_keys=True), (*cell, []))
                found[2].append((row, column))
    runs: dict[str, PaperRun] = {}
    for recipe, keys, cells in asked.values():
        cfg = _config(table, size, recipe, keys, cells)
        same = cells[0][1].until + json.dumps(plain(replace(cfg, name="run", methods=("supervised",))))
        if same in runs:
            runs[same].cells += cells
        else:
            name = _name(cells[0], {run.cfg.name for run in runs.values()})
            runs[same] = PaperRun(cfg=replace(cfg, name=name), cells=list(cells))
    for run in runs.values():
        run.cfg = replace(run.cfg, methods=tuple(in_order(row.method for row, _ in run.cells)))
    return list(runs.values())


def laid(table: PaperTable, row: Row, column: Column, *, small: bool) -> tuple[str, dict[str, Any]]:
    """Give the recipe of a cell and its keys, those of the row last."""
    recipe = SMALL if small else row.recipe or column.recipe or table.recipe
    keys: dict[str, Any] = {}
    for part in (table, column, row):
        keys |= part.laid(small=small)
    return recipe, keys


def _config(
    table: PaperTable, size: Size, recipe: str, keys: Mapping[str, Any], cells: Sequence[tuple[Row, Column]]
) -> RunConfig:
    folder = size.folder(table)
    methods = in_order(row.method for row, _ in cells)
    own = {"name": "run", "out": str(folder), "methods": methods}
    # one place for all: what is kept there is named by what it was made from
    own |= {"frame_stage.features.cache.folder": str(folder.parent / "features")}
    seeds = {"seeds": list(size.seeds)} if size.seeds else {}
    told_apart = {key for part in cells[0] for key in part.laid(small=size.small)}
    overrides = [text for text in size.overrides if parse_override(text)[0] not in told_apart]
    return load(recipe, overrides, {**keys, **own, **seeds})


def _name(cell: tuple[Row, Column], taken: set[str]) -> str:
    """Name a run folder by its first cell: the column, and the row where that has keys of its own."""
    row, column = cell
    own = row.keys or row.full or row.small or row.recipe
    words = " ".join([column.name, *([row.name] if own else [])]).replace("%", "percent")
    name = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "run"
    return next(n for n in (name, *(f"{name}-{i}" for i in range(2, 1000))) if n not in taken)
