"""Lists that labs have on disk: one clip a line, `path class` and in a single list optionally the role.

Separated by tabs, commas or spaces (split from the right, names may hold spaces), with or without a header line, CRLF
or not. A class is a name or an integer counted from 0. Published lists often carry the true labels of unlabelled
clips: they are kept in the clip table, for metrics, and never reach a split.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from shards.annotations.base import Annotations, Clip, absolute, make_annotations
from shards.annotations.config import CLIP_ROLES, DatasetConfig
from shards.errors import UserError
from shards.sources.sources import plain_path
from shards.types import NO_LABEL

_HEADER = (
    {"path", "video", "file", "filename", "clip", "video_path", "file_path"},
    {"class", "label", "class_name", "classname", "name"},
    {"role", "split", "subset"},
)
_UCF_CLIP = re.compile(r"(v_.+_g\d{2})_c\d{2}")  # UCF101 cuts several clips from one video: v_<class>_g<video>_c<clip>
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One line: where it stands, video path as written, class as written, role."""

    where: str
    path: str
    token: str
    role: str


def read(cfg: DatasetConfig) -> Annotations:
    """Read the list files of `cfg.lists` into a clip table.

    Raises UserError for missing or unreadable lists, bad rows (the first three with line numbers), classes that are
    not in `cfg.classes`, labels out of range and clips listed twice.
    """
    if not cfg.lists:
        raise UserError("data.lists: csv needs a list file; set data.lists.all, or one of labelled, unlabelled, test")
    rows: list[_Row] = []
    for role, name in cfg.lists.items():
        rows += _read_list(_find(cfg, name), role)
    classes = _read_classes(_find(cfg, cfg.classes)) if cfg.classes else _infer_classes(rows)
    labels = _labels(rows, classes)
    root = cfg.videos or cfg.root or str(_find(cfg, next(iter(cfg.lists.values()))).parent)
    _refuse_doubles(rows)
    clips = [_clip(row, label, root) for row, label in zip(rows, labels, strict=True)]
    return make_annotations(clips, classes, cfg.name, "1")


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


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line} is not UTF-8 text; is it a list? Convert it to UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines without their ends; empty ones left out. Only CR and LF end a line."""
    text = _read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    kept = [(number, line) for number, line in lines if line]
    if not kept:
        raise UserError(f"{path} is empty; a list has one line a clip: path and class")
    return kept


def _read_list(path: Path, list_role: str) -> list[_Row]:
    lines = _lines(path)
    separator = _separator([line for _, line in lines])
    if _is_header(path, lines[0][1]):
        lines = lines[1:]
    rows, bad = [], []
    for number, line in lines:
        row = _row(f"{path}:{number}", line, separator, list_role)
        if isinstance(row, str):
            bad.append(f"line {number}: {row}")
        else:
            rows.append(row)
    if bad:
        raise UserError(f"{path}: {len(bad)} bad rows, first: {'; '.join(bad[:_SHOWN])}. Write: path, class[, role]")
    return rows


def _separator(lines: Sequence[str]) -> str:
    for separator in ("\t", ","):
        if all(separator in line for line in lines):
            return separator
    return " "


def _is_header(path: Path, line: str) -> bool:
    words = re.split(r"[\t, ]+", line.lower())
    known = set().union(*_HEADER)
    if len(words) < 2 or not all(word in known for word in words):
        return False
    if len(words) > len(_HEADER) or not all(word in names for word, names in zip(words, _HEADER, strict=False)):
        raise UserError(f"{path}:1 names the columns {', '.join(words)}; they must be path, class and optionally role")
    return True


def _row(where: str, line: str, separator: str, list_role: str) -> _Row | str:
    """Take the columns from the right. Gives a complaint when they are not there."""
    fields = _fields(line, separator, with_role=list_role == "all")
    role = "train" if list_role == "all" else list_role
    if list_role == "all" and len(fields) > 2:
        role = fields.pop().strip().lower()
        if role not in CLIP_ROLES:
            return f"role {role!r} is not one of {', '.join(CLIP_ROLES)}"
    if len(fields) == 1 and role == "unlabelled":
        fields.append("")
    if len(fields) < 2:
        return f"{line[:80]!r} has no class"
    path, token = separator.join(fields[:-1]).strip(), fields[-1].strip()
    if not path or "\0" in path:
        return "no path"
    if not token and role != "unlabelled":
        return f"{path!r} has an empty class"
    return _Row(where=where, path=path, token=token, role=role)


def _fields(line: str, separator: str, *, with_role: bool) -> list[str]:
    """Split a line; with spaces only from the right, since a name may hold them."""
    if separator != " ":
        return next(csv.reader([line], delimiter=separator))
    parts = line.rsplit(None, 2)
    if with_role and len(parts) == 3 and parts[-1].lower() in CLIP_ROLES:
        return parts
    return line.rsplit(None, 1)


def _read_classes(path: Path) -> list[str]:
    names = [line for _, line in _lines(path)]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(f"{path}: class names twice: {', '.join(doubled[:_SHOWN])}; each line must be another class")
    return names


def _infer_classes(rows: Sequence[_Row]) -> list[str]:
    """Without a class file: integers stand for themselves, names are sorted."""
    tokens = {row.token for row in rows if row.token}
    if all(re.fullmatch(r"\d{1,6}", token) for token in tokens):
        return [str(index) for index in range(1 + max((int(token) for token in tokens), default=-1))]
    return sorted(tokens)


def _labels(rows: Sequence[_Row], classes: Sequence[str]) -> list[int]:
    index = {name: label for label, name in enumerate(classes)}
    labels = [_label(row.token, index) for row in rows]
    bad = [row for row, label in zip(rows, labels, strict=True) if label is None]
    if bad:
        shown = "; ".join(f"{row.where}: {row.token}" for row in bad[:_SHOWN])
        raise UserError(
            f"{len(bad)} rows have a class that is neither a known name nor in 0..{len(classes) - 1}, first: {shown}; "
            "correct the rows or data.classes"
        )
    return [NO_LABEL if label is None else label for label in labels]


def _label(token: str, index: Mapping[str, int]) -> int | None:
    if not token:
        return NO_LABEL
    if token in index:
        return index[token]
    if re.fullmatch(r"\d{1,6}", token) and int(token) < len(index):
        return int(token)
    return None


def _refuse_doubles(rows: Sequence[_Row]) -> None:
    seen: dict[str, _Row] = {}
    doubles = []
    for row in rows:
        other = seen.setdefault(row.path, row)
        if other is not row:
            doubles.append(f"{row.path} at {other.where} ({other.role}) and {row.where} ({row.role})")
    if doubles:
        raise UserError(f"{len(doubles)} clips are listed twice, first: {'; '.join(doubles[:_SHOWN])}; remove one row")


def _clip(row: _Row, label: int, root: str) -> Clip:
    stem = PurePath(plain_path(row.path)).stem
    match = _UCF_CLIP.fullmatch(stem)
    source = match.group(1) if match else row.path
    return Clip(name=stem, path=absolute(root, row.path), label=label, role=row.role, source=source)
