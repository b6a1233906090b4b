"""Which of many paths exist, with one look per folder: files, frame folders, tar members and URLs.

A path is a local file or folder, a URL (`s3://bucket/a.mp4`), or a member of a tar (`tar://<member>::<tar>`), as fsspec
writes them.
"""

from __future__ import annotations

import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import fsspec

from shards.types import UserError


def missing_paths(paths: Iterable[str]) -> list[str]:
    """Return the paths that do not exist, are empty files, or are empty folders; sorted, each once.

    Raises UserError when a folder or archive exists but cannot be listed.
    """
    by_place: dict[str, set[str]] = defaultdict(set)
    for path in set(paths):
        place, _, _ = path.rpartition("/")
        by_place[path.partition("::")[2] if path.startswith("tar://") else place].add(path)
    missing: list[str] = []
    for place, here in by_place.items():
        missing += here - _present(place, here)
    return sorted(missing)


def _present(place: str, paths: set[str]) -> set[str]:
    try:
        if any(path.startswith("tar://") for path in paths):
            return _in_tar(place, paths)
        return _by_url(place, paths) if "://" in place else _in_folder(place, paths)
    except FileNotFoundError:
        return set()
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{place}: cannot be listed ({error}); check its permissions, or that the archive is whole"
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
    with fsspec.open(archive, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
        members = {member.name.removeprefix("./") for member in tar if member.isfile() and member.size > 0}
    return {path for path in paths if path.removeprefix("tar://").partition("::")[0].lstrip("/") in members}


def _by_url(place: str, paths: set[str]) -> set[str]:
    filesystem, folder = fsspec.core.url_to_fs(place)
    sizes = {Path(item["name"]).name: item.get("size") for item in filesystem.ls(folder, detail=True)}
    return {path for path in paths if sizes.get(path.rpartition("/")[2], 0) != 0}
