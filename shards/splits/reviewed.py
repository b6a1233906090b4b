"""Labels that a person gave to clips of the pool, as `finepseudo review` writes them: they become labelled clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shards.annotations.lines import one_form
from shards.annotations.list_lines import read_list_file
from shards.errors import UserError

COLUMNS = ("key", "class")
_SHOWN = 3


def read_reviewed(path: Path, classes: Sequence[str]) -> dict[str, int | None]:
    """Read key -> class number of every row; None where the clip was rejected: it shows none of the classes.

    A list with the columns key and class, as a spreadsheet saves it too; an empty class rejects. UserError for a file
    without them, an unknown class (the first three rows), and a clip that is there twice.
    """
    head, *lines = read_list_file(path).lines
    if not set(COLUMNS) <= set(head.fields):
        raise UserError(f"split.reviewed = {path}: needs the columns {' and '.join(COLUMNS)}; `finepseudo review` does")
    place = [head.fields.index(name) for name in COLUMNS]
    numbers = {one_form(name): number for number, name in enumerate(classes)}
    found: dict[str, int | None] = {}
    bad = []
    for line in lines:
        key, name = (line.fields[at] if at < len(line.fields) else "" for at in place)
        name = one_form(name)
        if key in found or (name and name not in numbers):
            bad.append(f"line {line.number}: {key} " + ("stands there twice" if key in found else f"is {name!r}"))
        found[key] = numbers.get(name)
    if bad:
        raise UserError(f"split.reviewed = {path}: {len(bad)} bad rows: {'; '.join(bad[:_SHOWN])}; correct them")
    return found


def with_reviewed(
    path: Path, rows: Mapping[str, tuple[str, int]], classes: Sequence[str]
) -> dict[str, tuple[str, int]]:
    """Lay reviewed labels over a draw, key -> (role, label): clips of the pool become labelled, rejected ones go.

    Clips that this draw has labelled stay as they are. UserError for a test clip and for a key that is not there.
    """
    reviewed = read_reviewed(path, classes)
    wrong = [key for key in reviewed if key not in rows or rows[key][0] == "test"]
    if wrong:
        why = "is a test clip, whose label trains nothing" if wrong[0] in rows else "is no clip of this data set"
        raise UserError(f"split.reviewed = {path}: {wrong[0]} {why} ({len(wrong)} such rows); remove them")
    made = dict(rows)
    for key, label in reviewed.items():
        if rows[key][0] != "unlabelled":
            continue
        if label is None:
            del made[key]
        else:
            made[key] = "labelled", label
    return made
