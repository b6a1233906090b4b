"""Copies of remote files on this node, in a folder of bounded size that all its processes share.

An entry appears under its name when it is whole; the least recently used ones make room. A reader holds the file open
while it reads, so an entry may be removed at any time. Names are made of hashes of the contents: nothing goes stale.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from shards.errors import UserError
from shards.files import FULL_DISK, TEMPORARY_SUFFIX
from shards.storage.config import CacheConfig

_log = logging.getLogger(__name__)
_LOCKS = 64  # entries share lock files: at worst two downloads wait for each other
_KEEP = 0.9  # a clean-up goes down to this share of the limit, so that not every download needs one
_NO_ROOM = (*FULL_DISK, errno.EROFS)


class Cache:
    """The cache folder of this node. May be pickled; nothing is made or opened before it is used."""

    def __init__(self, cfg: CacheConfig, named: str = "reading.cache.folder") -> None:
        """Choose the folder. named: the key that it is told by."""
        self._named = named
        own = Path(tempfile.gettempdir()) / f"finepseudo-cache-{os.getuid()}"
        self.folder, self.limit = Path(cfg.folder).expanduser() if cfg.folder else own, cfg.limit
        self._private = not cfg.folder
        self._usable = self.limit > 0

    def open(self, name: str, size: int, fetch: Callable[[Path], None]) -> IO[bytes] | None:
        """Open the entry of `size` bytes; where it is missing `fetch(path)` gets it, once for all processes.

        None when it cannot be kept: larger than the limit, the disk is full, or all room is taken by downloads.
        What `fetch` raises passes.
        """
        if not self._usable or size > self.limit:
            return None
        try:
            return self.find(name, size) or self._fetched(name, size, fetch)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._usable = False
            _log.warning("%s: %s; nothing more is kept there", self.folder, error.strerror)
            return None

    def find(self, name: str, size: int) -> IO[bytes] | None:
        """Open the entry if it is there, and note that it was used."""
        try:
            file = (self.folder / name).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        if os.fstat(file.fileno()).st_size != size:  # cut by a crash of the machine
            file.close()
            self.drop(name)
            return None
        with suppress(OSError):
            os.utime(file.fileno())
        return file

    def drop(self, name: str) -> None:
        """Remove a damaged entry."""
        (self.folder / name).unlink(missing_ok=True)

    def _fetched(self, name: str, size: int, fetch: Callable[[Path], None]) -> IO[bytes] | None:
        self._make_folder()
        with self._locked(f"{zlib.crc32(name.encode()) % _LOCKS:02d}"):
            found = self.find(name, size)  # another process may have fetched it meanwhile
            if found:
                return found
            with self._reserved(size) as temporary:
                if temporary is None:
                    return None
                fetch(temporary)
                temporary.replace(self.folder / name)
        return self.find(name, size)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700 if self._private else 0o777, parents=True, exist_ok=True)
            told = self.folder.lstat()
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, "permission denied")
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            raise UserError(
                f"{self._named}: {self.folder} cannot be made ({error.strerror}); name a folder you may write to"
            ) from error
        if self._private and (told.st_uid != os.getuid() or not stat.S_ISDIR(told.st_mode)):
            raise UserError(f"{self.folder} belongs to somebody else; set {self._named} to a folder of your own")

    @contextmanager
    def _locked(self, which: str) -> Iterator[IO[bytes]]:
        """Hold a lock of this folder; it ends with the process that holds it, however that ends."""
        with (self.folder / f".lock-{which}").open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    @contextmanager
    def _reserved(self, size: int) -> Iterator[Path | None]:
        """Make room and give a temporary file that stands for `size` bytes from now on; None when there is no room."""
        temporary = self.folder / f".{size}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        with self._locked("space") as usage:
            used = self._usage(usage)
            if used is None or used + size > self.limit:
                used = self._clean_up(self.limit - size)
            if used + size > self.limit:
                self._note(usage, used)
                yield None
                return
            self._note(usage, used + size)
            held = temporary.open("xb")
            fcntl.flock(held, fcntl.LOCK_EX)  # tells a download in work from the left-over of a killed process
        try:
            with held:
                yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _clean_up(self, room: int) -> int:
        """Remove the least recently used entries until `room` bytes hold the rest; return the bytes still taken."""
        entries, taken = [], 0
        for path in list(self.folder.iterdir()):
            with suppress(FileNotFoundError):
                if path.name.endswith(TEMPORARY_SUFFIX):
                    taken += 0 if _left_over(path) else int(path.name.split(".")[1])
                elif not path.name.startswith("."):
                    told = path.stat()
                    entries.append((told.st_mtime_ns, path.name, told.st_size))
        taken += sum(size for _, _, size in entries)
        for _, name, size in sorted(entries):
            if taken <= min(room, int(_KEEP * self.limit)):
                break
            self.drop(name)
            taken -= size
        return taken

    @staticmethod
    def _usage(file: IO[bytes]) -> int | None:
        """Read the running sum; it may be too high after a crash, which the next clean-up fixes."""
        file.seek(0)
        text = file.read()
        return int(text) if text.isdigit() else None

    @staticmethod
    def _note(file: IO[bytes], used: int) -> None:
        file.truncate(0)
        file.write(str(used).encode())
        file.flush()


def _left_over(path: Path) -> bool:
    """Remove a temporary file whose process is gone."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    path.unlink(missing_ok=True)
    return True
