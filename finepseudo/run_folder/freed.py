"""Outputs that nothing reads any more: their bytes go, their hashes stay in the DONE record, and the stage stays done.

A stage that wants to read them again finds the mark and takes it back (`bring_back`): then they are missing, and made
again as any missing output is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finepseudo.run_folder.done import FREED, Identity, is_done
from finepseudo.run_folder.files import write_json
from shards.errors import UserError


def freeable(stage: Identity, pattern: str) -> list[Path]:
    """List the outputs of a finished stage that match and are there, with the hashes beside them; else nothing."""
    if not is_done(stage):
        return []
    found = [path for path in sorted(stage.folder.glob(pattern)) if path.is_file()]
    beside = (path.with_name(f".{path.name}.sha256") for path in found)
    return [*found, *(path for path in beside if path.is_file())]


def free(stage: Identity, paths: Sequence[Path]) -> None:
    """Mark outputs of a finished stage as given up, then remove them: killed in between, it is done again."""
    record = _read(stage.record)
    if record is None:
        raise UserError(f"{stage.record}: no record of a finished stage; nothing is removed")
    names = {path.relative_to(stage.folder).as_posix() for path in paths}
    gone = sorted({*record.get(FREED, ()), *(names & set(record["outputs"]))})
    write_json(stage.record, {**record, FREED: gone})
    for path in paths:
        path.unlink(missing_ok=True)


def bring_back(record: Path) -> bool:
    """Take the mark back, so that what was given up is made again; tell whether there was one."""
    found = _read(record)
    if found is None or not found.get(FREED):
        return False
    write_json(record, {name: value for name, value in found.items() if name != FREED})
    return True


def is_freed(record: Path) -> bool:
    """Tell whether outputs of this record were given up."""
    found = _read(record)
    return bool(found and found.get(FREED))


def _read(record: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("outputs"), dict) else None
