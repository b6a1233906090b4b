"""Lists that labs have on disk: one clip a line, path and class, and where there is more: role, start, end, source.

Separated by tabs, semicolons, commas or blanks, with or without a header line, CRLF or not, UTF-8 or UTF-16. Which
column is which says `columns`, what is a class `class_names`. Published lists often carry the true labels of unlabelled
clips: they are kept in the clip table, for metrics, and never reach a split.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePath

from shards.annotations.base import Annotations, Clip, absolute, make_annotations
from shards.annotations.class_names import NO_CLASS, Classes, infer_classes, read_class_file
from shards.annotations.columns import WORDS, Cells, read_columns
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import one_form
from shards.annotations.list_lines import ListFile, read_list_file
from shards.annotations.roles import LIST_ROLES, ROLE_RULE, VAL, role_word, source_of
from shards.errors import UserError, counted
from shards.sources.sources import plain_path
from shards.types import NO_LABEL

_SHOWN = 3
_TRIED = 1000
"""Lines that are looked for as files: a list on a slow disk is not waited for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One line: where it stands, video path as written, class as written, role, window in seconds, source video."""

    where: str
    path: str
    token: str
    role: str
    start: float | None = None
    end: float | None = None
    source: str = ""


def read(cfg: DatasetConfig) -> Annotations:
    """Read the list files of `cfg.lists` into a clip table, with remarks on what was not plain.

    Raises UserError for missing or unreadable lists, columns that are not clear, bad rows (the first three with line
    numbers), classes that are not in `cfg.classes`, labels out of range and clips listed twice.
    """
    if not cfg.lists:
        raise UserError("data.lists: csv needs a list file; set data.lists.all, or one of labelled, unlabelled, test")
    rows: list[_Row] = []
    remarks: list[str] = []
    for role, name in cfg.lists.items():
        rows += _read_list(_find(cfg, name), LIST_ROLES.get(role, ""), remarks)
    rows = _settle_val(_forward_slashes(rows, remarks), remarks)
    classes = read_class_file(_find(cfg, cfg.classes)) if cfg.classes else _infer(rows)
    labels = _labels(rows, classes)
    root = cfg.videos or cfg.root or str(_find(cfg, next(iter(cfg.lists.values()))).parent)
    _refuse_doubles(rows)
    clips = [_clip(row, label, root) for row, label in zip(rows, labels, strict=True)]
    made = make_annotations(clips, classes.names, cfg.name, "1")
    return replace(made, remarks=(*remarks, *classes.remarks))


def read_clips_alone(path: Path) -> list[Clip]:
    """Read a list for its clips: paths, relative to the list, and windows. Classes and roles are left aside.

    A line may be a path alone that holds blanks or commas, as `ls` and `find` write it. Raises UserError as `read`
    does; a clip that is listed twice is one clip.
    """
    alone = _paths_alone(read_list_file(path))
    rows = alone or _forward_slashes(_read_list(path, "unlabelled", []), [])
    once = {(row.path, row.start, row.end): row for row in rows}
    return [_clip(row, NO_LABEL, str(path.parent)) for row in once.values()]


def _paths_alone(found: ListFile) -> list[_Row]:
    """Take whole lines for paths where one that could be split is a file; none where a list has columns."""
    whole = [_unquoted(line.text) for line in found.lines]
    splits = (text for text, line in zip(whole, found.lines, strict=True) if len(line.fields) > 1)
    if not any(_is_there(found.path.parent, text) for text in islice(splits, _TRIED)):
        return []
    if whole[0].lower() in WORDS["path"] and not _is_there(found.path.parent, whole[0]):
        whole = whole[1:]
    return [_Row(where=str(found.path), path=text, token="", role="unlabelled") for text in whole]


def _unquoted(text: str) -> str:
    fields = next(csv.reader([text]))
    return fields[0] if len(fields) == 1 else text


def _is_there(folder: Path, name: str) -> bool:
    try:
        return (folder / name).exists()
    except (OSError, ValueError):  # longer than a name may be, or not one at all
        return False


def files(cfg: DatasetConfig) -> list[Path]:
    """List the list files and the class file."""
    return [_place(cfg, name) for name in (*cfg.lists.values(), *([cfg.classes] if cfg.classes else []))]


def _place(cfg: DatasetConfig, name: str) -> Path:
    """A list is named relative to the root, or to where the command runs."""
    below, here = Path(cfg.root, name).expanduser(), Path(name).expanduser()
    return here if here.is_file() and not below.is_file() else below


def _find(cfg: DatasetConfig, name: str) -> Path:
    path = _place(cfg, name)
    if not path.is_file():
        raise UserError(f"list {path} does not exist or is no file; check data.lists, data.classes and data.root")
    return path


def _read_list(path: Path, list_role: str, remarks: list[str]) -> list[_Row]:
    """Read one list; `list_role` is the role of all its clips, empty where each row may name one."""
    table = read_columns(read_list_file(path), may_lack_class=list_role == "unlabelled")
    remarks += table.remarks
    rows, bad = [], list(table.bad)
    for cells in table.rows:
        row = _row(path, cells, list_role)
        if isinstance(row, str):
            bad.append(f"line {cells.number}: {row}")
        else:
            rows.append(row)
    if bad:
        raise UserError(f"{path}: {len(bad)} bad rows, first: {'; '.join(bad[:_SHOWN])}. Write: path, class[, role]")
    return rows


def _row(path: Path, cells: Cells, list_role: str) -> _Row | str:
    """Check one row. Gives a complaint where it is bad."""
    if not cells.path or "\0" in cells.path:
        return "no path"
    role = list_role or (role_word(cells.role) if cells.role else "train")
    if role is None:
        return f"role {cells.role!r} is not one of {ROLE_RULE}"
    if cells.label.lower() in NO_CLASS and role not in ("train", "unlabelled"):
        return f"{cells.path!r} has an empty class, and its role is {role}; a clip without a class is unlabelled"
    try:
        start, end = (float(text) if text else None for text in (cells.start, cells.end))
    except ValueError:
        return f"start {cells.start!r} and end {cells.end!r} must be seconds, such as 61.5"
    if (start or 0.0) < 0 or (end is not None and not (start or 0.0) < end < float("inf")):
        return f"start {cells.start} and end {cells.end}: 0 <= start < end seconds is the rule"
    return _Row(
        where=f"{path}:{cells.number}",
        path=cells.path,
        token=one_form(cells.label),
        role=role,
        start=start,
        end=end,
        source=cells.source,
    )


def _settle_val(rows: Sequence[_Row], remarks: list[str]) -> list[_Row]:
    """Take validation clips as the test where there is no other, else as training clips."""
    found = Counter(row.role for row in rows)
    if not found[VAL]:
        return list(rows)
    role = "test" if not found["test"] else "labelled" if found["labelled"] else "train"
    use = "are the test" if role == "test" else f"join the {role} clips: the test clips are the test"
    remarks.append(f"{found[VAL]:,} clips of the role {VAL} {use}")
    return [replace(row, role=role) if row.role == VAL else row for row in rows]


def _forward_slashes(rows: Sequence[_Row], remarks: list[str]) -> list[_Row]:
    """Read paths of another system where every one of them is such."""
    if not all("\\" in row.path and "/" not in row.path for row in rows):
        return list(rows)
    remarks.append("paths are written with backslashes and are read with slashes")
    return [replace(row, path=row.path.replace("\\", "/")) for row in rows]


def _infer(rows: Sequence[_Row]) -> Classes:
    tokens = Counter(row.token for row in rows if row.token.lower() not in NO_CLASS)
    if not tokens:
        raise UserError("data.lists: no clip has a class; label some of them, or name the classes in data.classes")
    return infer_classes(tokens)


def _labels(rows: Sequence[_Row], classes: Classes) -> list[int]:
    labels = [classes.label(row.token) for row in rows]
    bad = [row for row, label in zip(rows, labels, strict=True) if label is None]
    if bad:
        shown = "; ".join(f"{row.where}: {row.token}" for row in bad[:_SHOWN])
        raise UserError(
            f"{counted(len(bad), 'row has', 'rows have')} a class that is neither a known name nor in "
            f"0..{len(classes.names) - 1}, first: {shown}; correct the rows or data.classes"
        )
    return [NO_LABEL if label is None else label for label in labels]


def _refuse_doubles(rows: Sequence[_Row]) -> None:
    seen: dict[tuple[str, float | None, float | None], _Row] = {}
    doubles = []
    for row in rows:
        other = seen.setdefault((row.path, row.start, row.end), row)
        if other is not row:
            doubles.append(f"{row.path} at {other.where} ({other.role}) and {row.where} ({row.role})")
    if doubles:
        raise UserError(
            f"{counted(len(doubles), 'clip is', 'clips are')} listed twice, first: {'; '.join(doubles[:_SHOWN])}; "
            "remove one row"
        )


def _clip(row: _Row, label: int, root: str) -> Clip:
    stem = PurePath(plain_path(row.path)).stem
    return Clip(
        name=stem,
        path=absolute(root, row.path),
        label=label,
        role=row.role,
        source=row.source or source_of(stem) or row.path,
        start=row.start,
        end=row.end,
    )
