"""Which of many paths exist, with one look per folder or archive: files, frame folders, tar members and URLs.

What a path may be says `shards.sources.sources`.
"""

from __future__ import annotations

import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from shards.errors import UserError
from shards.sources.sources import archive_index, split_member
from shards.storage import remote
from shards.storage.remote import is_url

_FEW = 64
"""So few files of a remote folder are asked for one by one: the folder itself may hold millions."""
_ASKING = 16


def missing_paths(paths: Iterable[str]) -> list[str]:
    """Return the paths that do not exist, are empty files, or are empty folders; sorted, each once.

    Raises UserError when a folder or archive exists but cannot be listed, or a server cannot be reached.
    """
    by_place: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for path in set(paths):
        archive = split_member(path)[1]
        place = archive or path.removeprefix("file://").rpartition("/")[0]
        by_place[place, bool(archive)].add(path)
    missing: list[str] = []
    for (place, packed), here in by_place.items():
        missing += here - _present(place, here, packed=packed)
    return sorted(missing)


def _present(place: str, paths: set[str], *, packed: bool) -> set[str]:
    try:
        if packed:
            return _in_tar(place, paths)
        return _by_url(place, paths) if is_url(place) else _in_folder(place, paths)
    except FileNotFoundError:
        return set()
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{place}: cannot be listed ({error}); check its permissions, the network, or that the archive is whole"
        ) from error


def _in_folder(place: str, paths: set[str]) -> set[str]:
    present = set()
    names = {path.rpartition("/")[2]: path for path in paths}
    with os.scandir(place or ("/" if any(path.startswith("/") for path in paths) else ".")) as entries:
        for entry in entries:
            if entry.name in names and (any(os.scandir(entry)) if entry.is_dir() else _has_bytes(entry)):
                present.add(names[entry.name])
    return present


def _has_bytes(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.stat().st_size > 0
    except FileNotFoundError:  # a link to nowhere
        return False


def _in_tar(archive: str, paths: set[str]) -> set[str]:
    index = archive_index(archive)
    members = {name for name, (_, size) in index.items() if size > 0}
    folders = {str(PurePosixPath(name).parent) for name in members}
    return {path for path in paths if split_member(path)[0] in members | folders}


def _by_url(place: str, paths: set[str]) -> set[str]:
    """Ask for each of a few files, or list the whole folder; a web server is always asked, as it lists nothing."""
    if len(paths) > _FEW and not place.startswith("http"):
        there = {PurePosixPath(str(entry["name"])).name for entry in remote.listing(place) if _holds_bytes(entry)}
        return {path for path in paths if path.rpartition("/")[2] in there}
    ordered = sorted(paths)
    with ThreadPoolExecutor(_ASKING) as pool:
        return {path for path, there in zip(ordered, pool.map(_answers, ordered), strict=True) if there}


def _answers(url: str) -> bool:
    try:
        return _holds_bytes(remote.describe(url))
    except FileNotFoundError:
        return False


def _holds_bytes(entry: dict[str, object]) -> bool:
    """Say whether a remote file has bytes; a folder is there because something lies in it."""
    return entry.get("type") == "directory" or entry.get("size") != 0
