"""Files that others may read: written to a temporary name, flushed, renamed. A full disk is one clear line."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shards.errors import UserError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""What a write fails with where there is no room: the disk or one's quota is full."""
TROUBLE = {
    **dict.fromkeys(FULL_DISK, "make room"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "see that you may write there"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "look at the disk or its server"),
    errno.EISDIR: "move that folder away, a file belongs there",
    errno.ENOTDIR: "move that file away, a folder belongs there",
    errno.ELOOP: "remove the symbolic link that leads to itself",
}
"""What storage answers that is full, broken, somebody else's or not what it was, and what to do: no program's fault."""
_DISK_ERRORS = {
    errno.ENOSPC: "no space is left on the disk; free some or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the limit on the size of a file is reached; raise it (ulimit -f) or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission is denied; choose a folder you may write to",
    errno.EPERM: "permission is denied; choose a folder you may write to",
    errno.ENOENT: "it is not there and cannot be made; choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder",
    errno.EEXIST: "a part of the path is a file, not a folder; choose another folder",
    errno.EISDIR: "it is a folder; move it away or choose another one",
    errno.ELOOP: "a symbolic link on the way leads to itself; remove it",
    errno.EIO: "the disk or its server fails (Input/output error); look at it, or choose another folder",
    errno.ESTALE: "its server has lost it (stale file handle); mount it again, or choose another folder",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
}
TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "disk full" and its kin into one line that names the file; other errors pass unchanged."""
    try:
        yield
    except OSError as error:
        remote = type(error).__module__ != OSError.__module__  # what reading from afar raises has words of its own
        if remote or error.errno not in _DISK_ERRORS:
            raise
        raise UserError(f"cannot write {path}: {_DISK_ERRORS[error.errno]}") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success flush it to disk and rename it, on failure remove it.

    After a crash at any point `path` is the old file or the new one, whole. Whoever writes it, its permissions are
    those of a new file: some libraries make files that nobody else may read.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)
            _fsync(temporary)
            temporary.replace(path)
            _fsync(path.parent)
    finally:
        with suppress(NotADirectoryError):  # its folder is none, which has been said
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before hours are spent on what it is to hold; its folder is made."""
    with disk_errors(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def walked(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as os.walk. UserError for a folder that cannot be listed: what lies in it would be left out unsaid."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be listed: {error.strerror}; check its permissions") from error

    return os.walk(folder, onerror=refuse)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def append_line(path: Path, text: str) -> None:
    """Append one line, whole or not at all: a full disk takes a part of it, which the next line would join."""
    data = (text + "\n").encode()
    with disk_errors(path), path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if file.write(data) != len(data):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sha256_file(path: Path) -> str:
    """Hash a file in pieces, so that its size does not matter."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
