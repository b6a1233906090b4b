"""What every reader of list files shares: lines with their numbers, and bad rows reported the same way everywhere."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, TypeVar

from shards.annotations.config import DatasetConfig
from shards.errors import UserError

T = TypeVar("T")
Raw: TypeAlias = Any
"""What a file held, before it is checked."""
R = TypeVar("R")
Numbered = tuple[int, str]

SHOWN_BAD_ROWS = 3
VIDEO_ENDINGS = (
    "mp4",
    "avi",
    "webm",
    "mkv",
    "mov",
    "m4v",
    "mpg",
    "mpeg",
    "gif",
    "ts",
    "wmv",
    "flv",
    "3gp",
    "ogv",
    "mts",
)
"""What names of video files end with."""
_ENDINGS = re.compile(rf"(\.({'|'.join(VIDEO_ENDINGS)}))+$", re.IGNORECASE)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class BadRowsError(UserError):
    """A file with bad rows; `count` says how many."""

    def __init__(self, message: str, count: int) -> None:
        """Keep the message and the count."""
        super().__init__(message)
        self.count = count


def one_form(text: str) -> str:
    """Write a name in the one Unicode form: an é of a Mac's file system is two characters, that of a keyboard one.

    >>> len("e\\u0301"), len(one_form("e\\u0301"))
    (2, 1)
    """
    return unicodedata.normalize("NFC", text)


def loose_name(name: str) -> str:
    """Give a file name as people mean it: capitals and Unicode forms are one."""
    return one_form(name).casefold()


def read_text(path: Path) -> str:
    """Read a text file: UTF-8, or UTF-16 with its mark, as spreadsheets write it. UserError when it is neither."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the folder that holds this file") from error
    try:
        return data.decode("utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}:{line} is not UTF-8 text (byte {error.start}); is it a list? Save it as UTF-8, or convert it: "
            "iconv -f WINDOWS-1252 -t UTF-8 (of western Europe; GB18030: of China)"
        ) from error


def numbered_lines(path: Path) -> list[Numbered]:
    """Return (line number from 1, text) of every line that is not blank; LF and CRLF ends and outer blanks are dropped.

    Only LF ends a line: names may hold any other character that some libraries take for a line end.
    """
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(number, text.strip()) for number, text in lines if text.strip()]


def parse_rows(
    path: Path, rows: Iterable[tuple[int, T]], parse: Callable[[T], R], rule: str, unit: str = "line"
) -> list[R]:
    """Parse every (line number, row); `parse` raises ValueError(why) for a bad row.

    Raises UserError that names the first three bad rows with their line numbers (`unit` says what is counted), how many
    there are, and `rule`.
    """
    parsed: list[R] = []
    bad: list[str] = []
    total = 0
    for number, row in rows:
        total += 1
        try:
            parsed.append(parse(row))
        except ValueError as error:
            bad.append(f"{unit} {number} {str(row)[:80]!r} ({error})")
    if bad:
        refuse_rows(path, bad, total, rule)
    if not parsed:
        raise UserError(f"{path}: holds no rows; expected {rule}")
    return parsed


def parse_records(path: Path, records: Raw, parse: Callable[[Raw], R], rule: str, unit: str = "record") -> list[R]:
    """Parse every record of what a file held, counted from 1; see `parse_rows`. UserError where that is no list."""
    if not isinstance(records, list | tuple):
        raise UserError(f"{path}: holds a {type(records).__name__}; expected a list of {rule}; get the official file")
    return parse_rows(path, enumerate(records, 1), parse, rule, unit)


def refuse_rows(path: Path, bad: Sequence[str], total: int, rule: str) -> NoReturn:
    """Raise the one-line error for bad rows, the first three shown."""
    shown = "; ".join(bad[:SHOWN_BAD_ROWS])
    message = f"{path}: {len(bad)} of {total} rows are bad: {shown}; expected {rule}; fix or remove these rows"
    raise BadRowsError(message, len(bad))


def parse_lines(path: Path, parse: Callable[[str], R], rule: str) -> list[R]:
    """Parse every line of a list file; see `parse_rows`."""
    return parse_rows(path, numbered_lines(path), parse, rule)


def read_names(path: Path, count: int | None = None) -> list[str]:
    """Read one name a line (index = line). Raises UserError on doubles or, when `count` is given, on another number."""
    names = [text for _, text in numbered_lines(path)]
    if count is not None and len(names) != count:
        raise UserError(f"{path}: holds {len(names)} class names, {count} expected; give the complete label map")
    if len(set(names)) != len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: class name {double!r} occurs twice; names must be unique")
    return names


def split_last(text: str) -> tuple[str, str]:
    """Split `<anything><blank, tab or comma><last field>` from the right; names may hold blanks and commas.

    >>> split_last("/a b,c.avi,45")
    ('/a b,c.avi', '45')
    """
    match = re.fullmatch(r"(.*[^\s,])(?:[ \t]+|[ \t]*,[ \t]*)([^\s,]+)", text)
    if match is None:
        raise ValueError("a path and a last field, separated by a blank, a tab or a comma, are needed")
    return match[1], match[2]


def whole_number(text: str, below: int | None = None) -> int:
    """Parse a whole number >= 0 (and < `below`). Raises ValueError that says what is wrong."""
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"{text!r} is not a whole number")
    number = int(text)
    if below is not None and number >= below:
        raise ValueError(f"label {number} is not below {below}")
    return number


def videos_folder(cfg: DatasetConfig, default: str = "videos") -> str:
    """Return `data.videos`, absolute or a URL; when it is empty, the folder `default` below `data.root`."""
    videos = cfg.videos or str(Path(cfg.root) / default)
    return videos.rstrip("/") if "://" in videos else str(Path(videos).expanduser().absolute())


def base_name(path: str) -> str:
    """Return the last part of a path of any system, without folders."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def stem(path: str) -> str:
    """Return the file name without folders and without its video ending or endings; other dots stay.

    >>> stem("/root/x/hello.world_1.avi"), stem("9EnSwbXxu5g.mp4.webm")
    ('hello.world_1', '9EnSwbXxu5g')
    """
    return _ENDINGS.sub("", base_name(path))


def read_json(path: Path) -> Raw:
    """Read a JSON file. Raises UserError with line and column when it is damaged."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: damaged JSON at line {error.lineno}, column {error.colno} ({error.msg})") from error
    except RecursionError as error:
        raise UserError(f"{path}: JSON nested too deep for an export; is it another file?") from error
