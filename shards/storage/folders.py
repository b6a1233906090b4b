"""A folder of shards, on this machine or behind a URL: the few things that writing and reading them need.

Both kinds raise FileNotFoundError for a missing file; what cannot be reached or written is a UserError in one line.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from shards.errors import UserError
from shards.files import atomic, write_bytes
from shards.storage import remote
from shards.storage.remote import RemoteError, is_url

_WAY_OUT = "check the network, the address and the credentials; the same command goes on where it was"


class LocalFolder:
    """A folder on a disk that this machine sees."""

    def __init__(self, path: Path) -> None:
        """Name the folder; it need not exist yet."""
        self.path = path

    def __str__(self) -> str:
        """Write its path."""
        return str(self.path)

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        return (self.path / name).read_bytes()

    def size(self, name: str) -> int:
        """Give the bytes of a file."""
        return (self.path / name).stat().st_size

    def sizes(self) -> dict[str, int]:
        """List the files: name -> bytes."""
        found: dict[str, int] = {}
        for entry in os.scandir(self.path) if self.path.is_dir() else ():
            try:
                found[entry.name] = entry.stat().st_size
            except FileNotFoundError:  # a link to nowhere
                continue
        return found

    def put(self, source: Path, name: str) -> None:
        """Copy a file in, whole or not at all."""
        with atomic(self.path / name) as temporary:
            shutil.copyfile(source, temporary)

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, or none."""
        write_bytes(self.path / name, data)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are no trouble."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give a path under which the file can be read."""
        yield self.path / name


class RemoteFolder:
    """A folder behind a URL. Writing a file is atomic where the store's own writing is, as on S3."""

    def __init__(self, url: str) -> None:
        """Name the folder; the URL's protocol needs its fsspec library."""
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        """Write its URL."""
        return self.url

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        with _reach(f"{self}/{name}"), self.local(name) as path:
            return path.read_bytes()

    def size(self, name: str) -> int:
        """Give the bytes of a file."""
        with _reach(f"{self}/{name}"):
            return int(remote.describe(f"{self}/{name}").get("size") or 0)

    def sizes(self) -> dict[str, int]:
        """List the files with one request: name -> bytes."""
        with _reach(self.url):
            try:
                entries = remote.listing(self.url)
            except FileNotFoundError:
                return {}
        return {PurePosixPath(str(entry["name"])).name: int(entry.get("size") or 0) for entry in entries}

    def put(self, source: Path, name: str) -> None:
        """Copy a file in."""
        url = f"{self}/{name}"
        with _reach(url, "cannot be written: "), remote.remote_errors(url):
            system, path = remote.filesystem(url)
            try:
                system.put_file(str(source), path)
            except FileNotFoundError as error:
                raise UserError(f"{url}: cannot be written: there is no such bucket; make it first") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file."""
        with tempfile.NamedTemporaryFile(prefix="finepseudo-") as file:
            file.write(data)
            file.flush()
            self.put(Path(file.name), name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are no trouble."""
        for name in names:
            url = f"{self}/{name}"
            with _reach(url, "cannot be removed: "), remote.remote_errors(url):
                system, path = remote.filesystem(url)
                try:
                    system.rm_file(path)
                except FileNotFoundError:
                    continue

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give a copy of the file, for as long as the block lasts."""
        with tempfile.TemporaryDirectory(prefix="finepseudo-") as folder:
            with _reach(f"{self}/{name}"):
                remote.fetch(f"{self}/{name}", Path(folder) / "file")
            yield Path(folder) / "file"


Folder = LocalFolder | RemoteFolder


def open_folder(where: Path | str) -> Folder:
    """Make the folder that a path or a URL names; `file://` is a path."""
    text = str(where).removeprefix("file://")
    return RemoteFolder(text) if is_url(text) else LocalFolder(Path(text))


@contextmanager
def _reach(url: str, what: str = "") -> Iterator[None]:
    try:
        yield
    except RemoteError as error:
        raise UserError(f"{url}: {what}{error.strerror}; {_WAY_OUT}") from error
