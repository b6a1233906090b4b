"""Videos that a data set holds twice because a link leads to another of its files: a test clip that is trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from shards.errors import counted
from shards.storage.remote import is_url
from shards.types import NO_LABEL

_SHOWN = 3
Named = tuple[str, str, int]
"""Path, role and label of a clip."""


def linked(rows: Iterable[Named]) -> Iterator[str]:
    """Warn of files that are listed by several paths, where these are not of one role and class."""
    files: dict[tuple[int, int], list[Named]] = defaultdict(list)
    for path, role, label in rows:
        if not is_url(path) and (found := _file(path)):
            files[found].append((path, role, label))
    twice = [clips for clips in files.values() if len({path for path, _, _ in clips}) > 1]
    tested = [clips for clips in twice if len({role == "test" for _, role, _ in clips}) > 1]
    differ = [clips for clips in twice if len({label for _, _, label in clips} - {NO_LABEL}) > 1]
    for what, odd in (("in training and test", tested), ("with two classes", differ)):
        if odd:
            shown = "; ".join(" and ".join(sorted({path for path, _, _ in clips})[:2]) for clips in odd[:_SHOWN])
            listed = counted(len(odd), "file is", "files are")
            yield f"{listed} listed by two paths, {what}: {shown}; remove one of them"


def _file(path: str) -> tuple[int, int] | None:
    """Name the file, or the folder of frames, behind a path; None where there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):  # not there, or a member of a tar
        return None
    return found.st_dev, found.st_ino
