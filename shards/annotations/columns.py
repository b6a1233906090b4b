"""Which column of a list is the path, the class, the role: by the words of a header, else by what stands there.

What is not plain is refused with the columns named, never guessed: a class that is none would be found weeks later.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from shards.annotations.list_lines import Line, ListFile, is_video_name
from shards.annotations.roles import role_word
from shards.errors import UserError

_WORDS = {
    "path": "path filepath file_path video_path videopath clip_path frame_path filename file_name video_name videoname "
    "vid_name clip_name file video clip url uri video_id videoid clip_id youtube_id name id",
    "label": "class class_name classname label label_name labels tag tags category action activity target choice "
    "ground_truth ground_truth_label y name class_id label_id class_index",
    "role": "role split subset set partition usage",
    "start": "start start_time time_start start_sec start_seconds start_s begin t_start segment_start",
    "end": "end end_time time_end end_sec end_seconds end_s stop t_end segment_end",
    "source": "source source_video group subject person participant athlete actor",
}
WORDS = {kind: words.split() for kind, words in _WORDS.items()}
"""Kind of column -> the words that headers use for it, the clearest first."""
_FRAME_TIMES = ("start_frame", "frame_start", "end_frame", "frame_end", "stop_frame")
_HOW = "call the columns path and class (role, start, end in seconds and source may stand beside them)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """One row as text: line number, path, class, role, start and end, source video; empty where there is none."""

    number: int
    path: str
    label: str = ""
    role: str = ""
    start: str = ""
    end: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The rows of a list, those that cannot be read (one line each), and what its user should know of the reading."""

    rows: Sequence[Cells]
    bad: Sequence[str] = ()
    remarks: Sequence[str] = ()


@dataclass(kw_only=True, slots=True)
class _Columns:
    """Kind of column -> its place."""

    place: dict[str, int]
    width: int
    remarks: list[str] = field(default_factory=list)


def read_columns(file: ListFile, *, may_lack_class: bool) -> Table:
    """Say what each field of a list is. UserError when the columns are not clear."""
    header = _header(file)
    lines = file.lines[1:] if header else file.lines
    if not lines:
        raise UserError(f"{file.path} holds a header and no row; a list has one line a clip: path and class")
    if file.separator == " " and (header is None or _in_order(header)):
        wants_role = "role" in header.place if header else None
        return _between_blanks(file.path, lines, wants_role=wants_role, may_lack_class=may_lack_class)
    columns = header or _by_content(file.path, lines, may_lack_class=may_lack_class)
    return _separated(columns, lines, remarks=columns.remarks)


def _in_order(columns: _Columns) -> bool:
    wanted = ["path", "label", "role"][: columns.width]
    return [kind for kind, _ in sorted(columns.place.items(), key=lambda item: item[1])] == wanted


def _word(field_text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", field_text.lower()).strip("_")


def _named(names: Sequence[str]) -> dict[str, int]:
    """Find the columns whose names are known; each is used once."""
    place: dict[str, int] = {}
    for kind, words in WORDS.items():
        found = next((word for word in words if word in names and names.index(word) not in place.values()), None)
        if found is not None:
            place[kind] = names.index(found)
    return place


def _header(file: ListFile) -> _Columns | None:
    """Tell whether the first line names the columns: known words, or no path where all other lines have one."""
    first, rest = file.lines[0].fields, file.lines[1:]
    if any(_looks_like_path(cell) for cell in first):
        return None
    names = [_word(cell) for cell in first]
    place = _named(names)
    known = "path" in place and (len(place) > 1 or len(first) == 1)
    if not (known or _differs(first, rest)):
        return None
    if frames := [name for name in names if name in _FRAME_TIMES]:
        raise UserError(
            f"{file.path}:1 has a column {frames[0]}: parts of a video are given in seconds, columns start and end; "
            "divide by the video's frame rate, or remove the column where a file is one clip"
        )
    _complete(file.path, first, place, rest)
    columns = _Columns(place=place, width=len(first))
    ignored = [cell or "(no name)" for index, cell in enumerate(first) if index not in place.values()]
    if ignored:
        columns.remarks.append(f"{file.path}: columns not used: {', '.join(ignored)}")
    return columns


def _differs(first: Sequence[str], rest: Sequence[Line]) -> bool:
    """Tell a header of unknown words: a column holds video names, or class numbers, in all other lines and not here."""
    for index, cell in enumerate(first):
        others = [line.fields[index] for line in rest if index < len(line.fields)]
        if cell and others and all(map(is_video_name, others)):
            return True
        if index and len(others) > 1 and all(map(str.isdecimal, others)) and not cell.isdecimal():
            return True
    return False


def _complete(path: Path, first: Sequence[str], place: dict[str, int], rest: Sequence[Line]) -> None:
    """Find path and class among the columns whose names are unknown, where only one can be meant."""
    if "path" not in place:
        place["path"] = _path_column(rest)
        for kind in [kind for kind, index in place.items() if kind != "path" and index == place["path"]]:
            del place[kind]
    free = [index for index in range(len(first)) if index not in place.values() and first[index]]
    if "label" not in place and len(free) == 1:
        place["label"] = free[0]
    elif "label" not in place and free:
        _refuse(path, f"names the columns {', '.join(first)}; which of them is the class?")


def _refuse(path: Path, what: str) -> NoReturn:
    raise UserError(f"{path}:1 {what} Write a header line and {_HOW}")


def _looks_like_path(cell: str) -> bool:
    return is_video_name(cell) or "/" in cell or "\\" in cell


def _path_column(lines: Sequence[Line]) -> int:
    """Find the leftmost column of video names, or of what else looks like a path in half of the lines; else 0."""
    width = max(len(line.fields) for line in lines)
    columns = [[line.fields[index] for line in lines if index < len(line.fields)] for index in range(width)]
    for test in (is_video_name, _looks_like_path):
        for index, cells in enumerate(columns):
            if 2 * sum(map(test, cells)) >= len(lines):
                return index
    return 0


def _by_content(path: Path, lines: Sequence[Line], *, may_lack_class: bool) -> _Columns:
    """Find the columns of a list without a header."""
    width = Counter(len(line.fields) for line in lines).most_common(1)[0][0]
    place = {"path": _path_column(lines)}
    free = [index for index in range(width) if index not in place.values()]
    cells = {index: [line.fields[index] for line in lines if index < len(line.fields)] for index in free}
    columns = _Columns(place=place, width=width)
    if len(free) == 1 or (not free and may_lack_class):
        place |= {"label": free[0]} if free else {}
    elif len(free) == 2 and (roles := [index for index in free if _mostly_roles(cells[index])]):
        place |= {"role": roles[-1], "label": free[0] if roles[-1] == free[1] else free[1]}
    elif len(free) == 2 and all(cell.isdecimal() for column in cells.values() for cell in column):
        names = [line.fields[place["path"]] for line in lines]
        place["label"] = free[1]
        columns.remarks.append(_frame_counts(path, names, cells[free[0]]))
    else:
        _refuse(path, f"has {width} columns; which of them is the class?")
    return columns


def _mostly_roles(cells: Iterable[str]) -> bool:
    known = [role_word(cell) is not None for cell in cells]
    return 2 * sum(known) >= len(known) > 0


def _frame_counts(path: Path, names: Sequence[str], counts: Sequence[str]) -> str:
    """Take the first of two columns of numbers for frame counts where that is plain: the names are folders."""
    if any(map(is_video_name, names)) or not all(int(count) for count in counts):
        _refuse(path, "has two columns of numbers; which of them is the class?")
    return f"{path}: the second column is taken for the number of frames and not used"


def _separated(columns: _Columns, lines: Sequence[Line], remarks: Sequence[str]) -> Table:
    rows, bad = [], []
    for line in lines:
        if len(line.fields) > columns.width:
            bad.append(
                f"line {line.number}: {line.text[:80]!r} has {len(line.fields)} columns, not {columns.width}; "
                "a name that holds the separator stands in quotes"
            )
            continue
        cells = {k: line.fields[i] for k, i in columns.place.items() if i < len(line.fields)}
        rows.append(Cells(number=line.number, **{"path": "", **cells}))
    return Table(rows=rows, bad=bad, remarks=remarks)


def _between_blanks(path: Path, lines: Sequence[Line], *, wants_role: bool | None, may_lack_class: bool) -> Table:
    """Split `path class [role]`, or `folder frames class`: a name may hold blanks, so all is taken from the right."""
    with_role = wants_role if wants_role is not None else _mostly_roles(_last_of_three(lines))
    numbers = [line for line in lines if len(line.fields) > 2 and all(map(str.isdecimal, line.fields[-2:]))]
    with_frames = 2 * len(numbers) > len(lines) and not with_role
    remarks = []
    if with_frames:
        counts = [line.fields[-2] for line in numbers]
        remarks.append(_frame_counts(path, [line.fields[0] for line in numbers], counts))
    rows, bad = [], []
    for line in lines:
        tail = 2 if with_role or with_frames else 1
        parts = list(line.fields) if is_video_name(line.fields[0]) else line.text.rsplit(None, tail)
        if len(parts) <= tail - may_lack_class:
            bad.append(f"line {line.number}: {line.text[:80]!r} has no class")
            continue
        role = parts.pop() if with_role else ""
        name, words = parts[0], parts[-1:] if with_frames else parts[1:]
        rows.append(Cells(number=line.number, path=name, label=" ".join(words), role=role))
    return Table(rows=rows, bad=bad, remarks=remarks)


def _last_of_three(lines: Sequence[Line]) -> list[str]:
    return [line.fields[-1] if len(line.fields) > 2 else "" for line in lines]
