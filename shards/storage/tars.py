"""The bytes of a clip, out of tars on this machine or in a remote store.

A remote tar is copied whole into the node's cache when its neighbours will be wanted too; otherwise each clip is read
by its range, and kept as an entry of its own.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from shards.storage import remote
from shards.storage.cache import Cache
from shards.storage.config import CacheConfig
from shards.storage.folders import Folder, LocalFolder
from shards.storage.remote import RemoteError

FAILURES, PAUSE_S = 3, 30.0
"""After so many failed requests in a row a store is not asked for so many seconds."""


@dataclass(frozen=True, slots=True)
class Tar:
    """One shard: file name, bytes, hash."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a clip lies: number of the shard, first byte, bytes, hash."""

    shard: int
    offset: int
    size: int
    sha256: str


class LocalTars:
    """Tars in a folder of this machine; a file is opened at its first clip and stays open."""

    def __init__(self, folder: Path, tars: Sequence[Tar]) -> None:
        """Open nothing yet."""
        self._paths = [folder / tar.name for tar in tars]
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()

    def read(self, clip: Extent) -> bytes:
        """Read a clip; fewer bytes where the tar ends inside it. OSError when the tar is not there."""
        return os.pread(self._file(clip.shard), clip.size, clip.offset)

    def forget(self, clip: Extent) -> bool:
        """Say that there is nothing to forget: other bytes than were written are the file's own."""
        return False

    def close(self) -> None:
        """Close the files; reading opens them again."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _file(self, shard: int) -> int:
        with self._lock:
            if shard not in self._files:
                self._files[shard] = os.open(self._paths[shard], os.O_RDONLY | os.O_CLOEXEC)
            return self._files[shard]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process: file descriptors and the lock."""
        return {**self.__dict__, "_files": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with no open file."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __del__(self) -> None:
        """Close what is still open."""
        if getattr(self, "_lock", None) is not None:
            self.close()


class RemoteTars:
    """Tars in a remote store, read through the node's cache."""

    def __init__(self, url: str, tars: Sequence[Tar], cfg: CacheConfig, *, scattered: bool) -> None:
        """Decide what is copied: whole tars, unless reads are scattered over more of them than the cache holds."""
        self._url, self._tars, self._cache = url, tars, Cache(cfg)
        self._whole = not scattered or sum(tar.bytes for tar in tars) <= cfg.limit
        self._failed, self._silent_until = 0, 0.0

    def read(self, clip: Extent) -> bytes:
        """Read a clip. OSError when the store cannot be reached.

        A store that failed some requests in a row is left alone for a while: each failure may take minutes.
        """
        if time.monotonic() < self._silent_until:
            raise OSError(
                errno.EIO, f"the store failed {FAILURES} requests in a row and is not asked for {PAUSE_S:.0f} s"
            )
        try:
            data = self._read(clip)
        except RemoteError:
            self._failed += 1
            if self._failed >= FAILURES:
                self._failed, self._silent_until = 0, time.monotonic() + PAUSE_S
            raise
        self._failed = 0
        return data

    def forget(self, clip: Extent) -> bool:
        """Drop the copies that hold a clip, for bytes that are not those that were written; reading fetches them."""
        for name in (_tar_entry(self._tars[clip.shard]), _clip_entry(clip)):
            self._cache.drop(name)
        return True

    def close(self) -> None:
        """Nothing stays open."""

    def _read(self, clip: Extent) -> bytes:
        tar = self._tars[clip.shard]
        url = f"{self._url}/{tar.name}"
        if self._whole:
            file = self._cache.open(_tar_entry(tar), tar.bytes, partial(remote.fetch, url))
        else:
            file = self._cache.find(_tar_entry(tar), tar.bytes)  # another reader may have wanted all of it
        if file:
            with file:
                return os.pread(file.fileno(), clip.size, clip.offset)
        end = clip.offset + clip.size
        single: IO[bytes] | None = self._cache.open(
            _clip_entry(clip), clip.size, lambda path: remote.fetch_range(url, clip.offset, end, path)
        )
        if single is None:
            return remote.read_range(url, clip.offset, end)
        with single:
            return single.read()


Tars = LocalTars | RemoteTars


def open_tars(place: Folder, tars: Sequence[Tar], cfg: CacheConfig, *, scattered: bool) -> Tars:
    """Make the reader of a folder's tars."""
    if isinstance(place, LocalFolder):
        return LocalTars(place.path, tars)
    return RemoteTars(place.url, tars, cfg, scattered=scattered)


def _tar_entry(tar: Tar) -> str:
    return f"{tar.sha256[:40]}.tar"


def _clip_entry(clip: Extent) -> str:
    return f"{clip.sha256[:40]}.clip"
