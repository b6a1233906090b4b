"""A list file as lines of fields: its encoding, its separator, its quotes.

Nothing here knows what a column means; `columns` says that.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.annotations.lines import VIDEO_ENDINGS, read_text
from shards.errors import UserError

_SEPARATORS = ("\t", ";", ",")
_VIDEO_THEN_REST = re.compile(rf"(.*\.(?:{'|'.join(VIDEO_ENDINGS)}))[ \t]+(\S.*)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a list: its number from 1, its text, its fields without outer blanks."""

    number: int
    text: str
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ListFile:
    """A list file that was split into fields; `separator` is a blank where nothing else separates."""

    path: Path
    separator: str
    lines: Sequence[Line]


def read_list_file(path: Path) -> ListFile:
    """Read a list. UserError when it is missing, no text (UTF-8, or UTF-16 with its mark), or holds no line."""
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    numbered = [(number, line.strip(" \n")) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not numbered:
        raise UserError(f"{path} is empty; a list has one line a clip: path and class")
    separator = _separator([line for _, line in numbered])
    lines = [Line(number=number, text=line, fields=_fields(line, separator)) for number, line in numbered]
    return ListFile(path=path, separator=separator, lines=lines)


def is_video_name(field: str) -> bool:
    """Tell whether a field ends as the name of a video file does.

    >>> is_video_name("a b.MP4"), is_video_name("jump")
    (True, False)
    """
    return field.rpartition(".")[2].lower() in VIDEO_ENDINGS and "." in field


def _separator(lines: Sequence[str]) -> str:
    """Take the first separator that splits every line, the header too; blanks otherwise."""
    for separator in _SEPARATORS:
        if all(len(_fields(line, separator)) > 1 for line in lines):
            return separator
    return " "


def _fields(line: str, separator: str) -> tuple[str, ...]:
    """Split a line. Between blanks a name may hold blanks itself: it then ends with its video ending."""
    if separator != " ":
        return tuple(field.strip() for field in next(csv.reader([line], delimiter=separator, skipinitialspace=True)))
    match = _VIDEO_THEN_REST.fullmatch(line.strip())
    if match:
        return match[1], *match[2].split()
    return tuple(line.split())
