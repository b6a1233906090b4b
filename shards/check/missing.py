"""What missing paths have in common: one mistake in a list makes thousands of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from shards.annotations.lines import VIDEO_ENDINGS, loose_name, one_form
from shards.sources.frames import CODECS
from shards.storage.remote import is_url

_LOOKED_AT = 20
_NAMES_THAT_ARE_THERE = "`finepseudo init FOLDER --list LIST` writes a list of the names that are there"
_NUMBER_BEHIND = re.compile(r"[ ,;\t]+\d+$")
Cure = Callable[[str], str | None]
"""Path -> the path that is meant, None where the idea does not fit it."""


def in_common(missing: Sequence[str]) -> str:
    """Say in one sentence what would find the missing paths, or where they stop; empty when it does not show.

    A sample is looked at; only what holds for all of it is said.
    """
    local = [path for path in missing if not is_url(path)]
    sample = local[:: max(1, len(local) // _LOOKED_AT)][:_LOOKED_AT]
    if not sample:
        return ""
    if all(Path(path).is_file() for path in sample):
        return "all are there but empty, 0 bytes: copy the files again"
    if all(re.search(r"[A-Za-z]:[\\/]", path) for path in sample):
        return "all name a drive of Windows: list paths relative to a folder here and set data.videos to it"
    if all("\\" in path for path in sample):
        return "all hold backslashes: write folders with /"
    for text, cure in _cures(sample[0]):
        found = [cure(path) for path in sample]
        if all(path is not None and Path(path).exists() for path in found):
            way_out = f"; {_NAMES_THAT_ARE_THERE}" if cure in {_other_form, _other_case, _with_ending} else ""
            return f"{text}: {found[0]} is there{way_out}"
    return _dead_end(sample)


def _cures(example: str) -> Iterator[tuple[str, Cure]]:
    yield "behind each stands a number, which is no part of the path", _without_number
    yield "all are written in another Unicode form, which looks the same (é as one character or as two)", _other_form
    yield "all are written with other capitals", _other_case
    yield "all lack their file ending", _with_ending
    yield "all have another file ending", lambda path: _with_ending(str(Path(path).with_suffix("")))
    for place, name in enumerate(Path(example).parts[1:-1], start=1):
        yield f"all have a folder too many, {name}", lambda path, place=place: _without_part(path, place)  # type: ignore[misc]
    yield "all lack a folder", _one_level_below


def _without_number(path: str) -> str | None:
    shorter = _NUMBER_BEHIND.sub("", path)
    return shorter if shorter != path else None


def _with_ending(path: str) -> str | None:
    return _beside(path, Path(path).name, lambda name: Path(name).stem if _is_clip(name) else "")


def _is_clip(name: str) -> bool:
    return Path(name).suffix.lower().removeprefix(".") in {*VIDEO_ENDINGS, *CODECS}


def _other_form(path: str) -> str | None:
    return _beside(path, one_form(Path(path).name), one_form)


def _other_case(path: str) -> str | None:
    return _beside(path, loose_name(Path(path).name), loose_name)


def _beside(path: str, wanted: str, called: Callable[[str], str]) -> str | None:
    """Find the entry of the path's folder that is called `wanted`."""
    folder = Path(path).parent
    if not folder.is_dir():
        return None
    return next((str(entry) for entry in sorted(folder.iterdir()) if called(entry.name) == wanted), None)


def _without_part(path: str, place: int) -> str | None:
    parts = Path(path).parts
    return str(Path(*parts[:place], *parts[place + 1 :])) if place < len(parts) - 1 else None


def _one_level_below(path: str) -> str | None:
    name, folder = Path(path).name, Path(path).parent
    if not folder.is_dir():
        return None
    return next((str(entry / name) for entry in folder.iterdir() if entry.is_dir() and (entry / name).exists()), None)


def _dead_end(sample: Sequence[str]) -> str:
    """Name the first folder of the paths that is not there, where it is one for all."""
    ends = {_first_absent(Path(path)) for path in sample}
    (end,) = ends if len(ends) == 1 else (None,)
    if end is None or str(end) == sample[0]:
        return ""
    return f"there is no folder {end}: set data.videos to the folder that the paths are relative to"


def _first_absent(path: Path) -> Path:
    absent = path
    for folder in path.parents:
        if folder.exists():
            break
        absent = folder
    return absent
