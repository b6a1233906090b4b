"""How often a job went back into the queue without getting on: after three times in a row it ends instead.

What counts is what is on disk: stages that are done, checkpoints, part files and shards of the run folder. Their names
at the end of one attempt are compared with those at the end of the attempt before; no clock is asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from shards.files import write_bytes

MOST = 3
"""Restarts in a row without a step."""
_STEPS = re.compile(r"DONE\.json|step-\d+\.pt|part-\d+\.parquet|shard-\d+\.tar")
_RUN = "run"
ATTEMPT = "FINEPSEUDO_ATTEMPT"
"""Environment variable: the folder of this attempt, where the program says in which run folder it works."""


def note_run(run: Path) -> None:
    """Say, from inside the program, which run folder holds what it makes."""
    if folder := os.environ.get(ATTEMPT):
        write_bytes(Path(folder) / _RUN, str(run.resolve()).encode())


def steps_made(attempt: Path) -> str:
    """Identify all that the run folder of an attempt holds of finished work."""
    try:
        run = (attempt / _RUN).read_text(encoding="utf-8")
    except OSError:  # the program did not come so far
        return ""
    names = sorted(
        str(Path(folder) / name)
        for folder, _, found in os.walk(run, followlinks=True)
        for name in found
        if _STEPS.fullmatch(name)
    )
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def too_many(record: Path, attempt: Path) -> bool:
    """Count one more restart of the job that `record` is about; tell whether it is one too many."""
    before, count = _read(record)
    made = steps_made(attempt) or before or ""
    count = count + 1 if made == before else 0
    write_bytes(record, json.dumps({"made": made, "restarts_without_a_step": count}).encode())
    return count >= MOST


def _read(record: Path) -> tuple[str | None, int]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        return str(found["made"]), int(found["restarts_without_a_step"])
    except (OSError, ValueError, KeyError, TypeError):  # the first attempt, or not ours
        return None, 0
