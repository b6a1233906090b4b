"""The runs that are there: what a name that is no run is answered with."""

from __future__ import annotations

import difflib
from pathlib import Path

from finepseudo.run_folder.layout import RunPaths
from shards.errors import UserError

SHOWN = 12
"""How many runs a refusal names; a lab may have hundreds."""


def runs_below(folder: Path) -> list[Path]:
    """List the run folders of a folder, by name."""
    return sorted(path.parent for path in folder.glob(f"*/{RunPaths(Path()).config.name}"))


def no_run(command: str, folder: Path, todo: str) -> UserError:
    """Make the refusal of a folder that is no run: the runs beside it, those of like name first, and what to do."""
    names = [path.name for path in runs_below(folder.parent)]
    like = difflib.get_close_matches(folder.name, names, n=SHOWN, cutoff=0.5)
    named = [*like, *(name for name in names if name not in like)]
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    held = f"{', '.join(named[:SHOWN])}{more}" if named else "no run"
    return UserError(f"{command}: {folder}: no such run; {folder.parent} holds {held}; {todo}")
