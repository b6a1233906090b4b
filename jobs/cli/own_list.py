"""The list that `finepseudo init` writes: path, class, role and source of every clip."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from shards.annotations import load
from shards.annotations.base import Annotations
from shards.annotations.config import DatasetConfig
from shards.errors import UserError, visible
from shards.files import write_bytes
from shards.types import NO_LABEL


def write_list(found: Annotations, out: Path) -> None:
    """Write the list once it was read back as it is meant. UserError, and no list, where a name cannot stand in one."""
    names = (*found.classes, *found.clips["path"].to_pylist())
    if odd := next((name for name in names if visible(name) != name), None):
        raise UserError(f"init: {visible(odd)}: line breaks and the like cannot stand in a list; rename it")
    draft = out.with_name(f".{out.stem}.draft.csv")
    try:
        write_bytes(draft, _list_text(found, out.absolute().parent).encode())
        again = load(DatasetConfig(name="csv", lists={"all": str(draft.absolute())}))
        if lost := sorted(_meant(found) - _meant(again)):
            raise UserError(
                f"init: {lost[0][0]}: its class {lost[0][1]!r} reads differently in a list; rename the class"
            )
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _meant(found: Annotations) -> set[tuple[str, str, str]]:
    rows = found.clips.select(["path", "label", "role"]).to_pylist()
    return {
        (row["path"], found.classes[row["label"]].strip() if row["label"] != NO_LABEL else "", row["role"])
        for row in rows
    }


def _list_text(found: Annotations, beside: Path) -> str:
    """Write path, class, role and source of every clip, and start and end where there are windows."""
    rows = found.clips.to_pylist()
    windows = any(row["start"] is not None or row["end"] is not None for row in rows)
    head = ["path", "class", "role", "source", *(["start", "end"] if windows else [])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        name = found.classes[row["label"]] if row["label"] != NO_LABEL else ""
        times = ["" if row[key] is None else f"{row[key]:.6g}" for key in ("start", "end")] if windows else []
        writer.writerow([_relative(row["path"], beside), name, row["role"], _relative(row["source"], beside), *times])
    return text.getvalue()


def _relative(path: str, beside: Path) -> str:
    return path.removeprefix(f"{beside}/")
