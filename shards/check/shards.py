"""Look the written shards over: is every byte the one that was written?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shards.errors import UserError
from shards.files import sha256_file
from shards.storage.folders import Folder
from shards.storage.manifest import MANIFEST_JSON, written_shards
from shards.write.writer import dali_index, tar_index

READERS = 8
"""Shards that are read at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DamagedFile:
    """A file of the shards that is not what was written."""

    name: str
    reason: str


def damaged_files(folder: Path) -> tuple[list[DamagedFile], int]:
    """Read every tar and its index, here or in the store, against manifest.json: what is wrong, tars looked at.

    `UserError` when the manifest itself cannot be read.
    """
    store, shards = written_shards(folder)
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(partial(_look, store), shards))
    return [damage for damage in found if damage is not None], len(shards)


def remove_damaged(folder: Path, damaged: list[DamagedFile]) -> None:
    """Remove damaged files, and the manifest with them: writing the shards again then makes only those."""
    store, _ = written_shards(folder)
    (folder / MANIFEST_JSON).unlink(missing_ok=True)
    store.remove([damage.name for damage in damaged])


def _look(store: Folder, shard: dict[str, Any]) -> DamagedFile | None:
    tar = str(shard["name"])
    index = tar.removesuffix(".tar") + ".idx"
    try:
        with store.local(tar) as path:
            if path.stat().st_size != shard["bytes"]:
                return DamagedFile(name=tar, reason=f"{path.stat().st_size:,} bytes, {shard['bytes']:,} were written")
            if sha256_file(path) != shard["sha256"]:
                return DamagedFile(name=tar, reason="its bytes are not the ones that were written")
            expected = dali_index(tar_index(path))
        if store.read(index) != expected:
            return DamagedFile(name=index, reason="it is not the index of its tar")
    except FileNotFoundError as error:
        return DamagedFile(name=tar if tar in str(error) else index, reason="it is not there")
    except OSError as error:
        raise UserError(f"{store}/{tar}: cannot be read ({error.strerror}); look at the disk") from error
    return None
