"""What a clip's path stands for, and how it becomes something to decode: a local file or a folder of images.

A path is a file; a folder of images; a URL of either (`s3://bucket/a.mp4`, `https://host/a.mp4`); or a member of an
uncompressed tar, or a folder in one, chained as fsspec does: `tar://a.mp4::/data/x.tar`, `tar://a.mp4::s3://bucket/x.tar`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import IO

from shards.errors import SampleError, UserError
from shards.files import disk_errors
from shards.sources.frames import CODECS, FrameFolder
from shards.storage import remote
from shards.storage.remote import RemoteError, is_url

Source = Path | FrameFolder
Identity = tuple[int | str, int | str]
"""What changes when a source file changes: size and time of change, or a remote file's version."""
GONE: Identity = (-1, -1)
UNREACHABLE = "unreachable"
"""Reason of a clip whose source could not be asked for: the only one that another try may cure."""
_ASKING = 16  # requests at the same time
_BLOCK = 1 << 16
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Sources:
    """Opens the sources of one shard; what is not on this machine is copied into a temporary folder first.

    Clips of a shard are neighbours in key order and often cuts of one video, so the last copy is kept for the next.
    """

    def __init__(self, frame_rate: float, frame_files: str = "") -> None:
        """Say how many images a second frame folders have, and which of their files are the frames (a pattern)."""
        self._pattern = frame_files
        self._rate = Fraction(frame_rate).limit_denominator(1001)
        self._folder: Path | None = None
        self._last: tuple[str, Path] | None = None

    def open(self, key: str, path: str) -> Source:
        """Give the file, or the folder of images. SampleError says why there is neither."""
        try:
            path = path.removeprefix("file://")
            local = self._copied(path) if is_url(path) else Path(path)
            return FrameFolder(key, local, self._rate, self._pattern) if local.is_dir() else local
        except FileNotFoundError as error:
            raise SampleError(key, "missing_file", path) from error
        except RemoteError as error:
            raise SampleError(key, UNREACHABLE, f"{path}: {error.strerror}") from error
        except tarfile.TarError as error:
            raise SampleError(key, "bad_archive", f"{path}: {error}") from error
        except (OSError, ValueError) as error:  # also a name that no file can have
            raise SampleError(key, "unreadable_file", str(error)) from error

    def _copied(self, path: str) -> Path:
        if self._last and self._last[0] == path:
            return self._last[1]
        self.close()
        self._folder = Path(tempfile.mkdtemp(prefix="finepseudo-"))
        target = self._folder / f"clip{_suffix(path)}"
        archive = split_member(path)[1]
        if archive:
            archive_index(archive)  # what is wrong with the archive is no trouble of the disk written to
        with disk_errors(target):
            _copy_member(path, target) if archive else _copy_url(path, target)
        self._last = (path, target)
        return target

    def close(self) -> None:
        """Remove what was copied."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._last = None

    def __enter__(self) -> Sources:
        """Open nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was copied."""
        self.close()


def plain_path(path: str) -> str:
    """Write a source as the path it looks like, for names: `tar://b/c.mp4::s3://x/a.tar` is `s3://x/a.tar/b/c.mp4`."""
    member, archive = split_member(path)
    if archive:
        return f"{archive}/{member}"
    return path.partition("?")[0] if path.startswith(("http://", "https://")) else path


def split_member(path: str) -> tuple[str, str]:
    """Split `tar://<member>::<archive>` into member and archive; other paths have no archive."""
    if not path.startswith("tar://"):
        return path, ""
    member, _, archive = path.removeprefix("tar://").partition("::")
    return member.strip("/").removeprefix("./"), archive.removeprefix("file://")


def identities(paths: Sequence[str], frame_rate: float) -> list[Identity]:
    """Identify the sources as they are now, in order; GONE for what is missing or unreachable.

    A tar stands for its members, each remote file is asked for once, several at the same time.
    """
    places = [split_member(path)[1] or path.removeprefix("file://") for path in paths]
    remotes, rate = sorted({place for place in places if is_url(place)}), f"{frame_rate:g}"
    with ThreadPoolExecutor(_ASKING) as pool:
        known = dict(zip(remotes, pool.map(partial(_remote_identity, rate=rate), remotes), strict=True))
    return [known[place] if place in known else _local_identity(place, rate) for place in places]


def _local_identity(path: str, rate: str) -> Identity:
    try:
        stat = os.stat(path)  # noqa: PTH116 - any text may be a path here
        if not Path(path).is_dir():
            return stat.st_size, stat.st_mtime_ns
        entries = sorted((entry.name, entry.stat()) for entry in os.scandir(path))
    except (OSError, ValueError):  # missing, or a name that no file can have
        return GONE
    return _of_folder([f"{name} {found.st_size} {found.st_mtime_ns}" for name, found in entries], rate)


def _remote_identity(url: str, rate: str) -> Identity:
    try:
        info = remote.describe(url)
        if info.get("type") != "directory":
            return int(info.get("size") or 0), remote.version(info)
        entries = remote.listing(url)
    except OSError:
        return GONE
    return _of_folder([f"{entry['name']} {entry.get('size')} {remote.version(entry)}" for entry in entries], rate)


def _of_folder(lines: Sequence[str], rate: str) -> Identity:
    return len(lines), hashlib.sha256("\n".join([rate, *lines]).encode("utf-8", "surrogateescape")).hexdigest()


@lru_cache(maxsize=32)
def _index(archive: str, identity: Identity) -> Mapping[str, tuple[int, int]]:
    with remote.remote_errors(archive) if is_url(archive) else contextlib.nullcontext(), _open_archive(archive) as file:
        magic = file.read(6)
        kind = next((name for start, name in _COMPRESSED.items() if magic.startswith(start)), "")
        if kind:
            raise UserError(
                f"{archive}: the archive is compressed ({kind}), a member is found only by reading all before it; "
                "unpack it, or store the videos in a plain .tar"
            )
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            return {entry.name.removeprefix("./"): (entry.offset_data, entry.size) for entry in tar if entry.isfile()}


def archive_index(archive: str) -> Mapping[str, tuple[int, int]]:
    """List the files of an uncompressed tar: name -> (offset, bytes); kept for as long as the archive stays the same.

    FileNotFoundError, RemoteError, tarfile.TarError for a damaged one, UserError for a compressed one.
    """
    return _index(archive, identities([archive], 0)[0])


def _open_archive(archive: str) -> IO[bytes]:
    if not is_url(archive):
        return Path(archive).open("rb")
    found, path = remote.filesystem(archive)
    file: IO[bytes] = found.open(path, "rb", block_size=_BLOCK, cache_type="readahead")
    return file


def _copy_member(path: str, target: Path) -> None:
    """Copy a member, or every image of a folder, out of a tar."""
    member, archive = split_member(path)
    index = archive_index(archive)
    if member in index:
        _copy_range(archive, *index[member], target)
        return
    below = [name for name in index if name.startswith(f"{member}/") and "/" not in name[len(member) + 1 :]]
    if not below:
        raise FileNotFoundError(path)
    target.mkdir()
    for name in filter(_is_image, below):
        _copy_range(archive, *index[name], target / PurePosixPath(name).name)


def _copy_range(archive: str, offset: int, size: int, target: Path) -> None:
    if is_url(archive):
        remote.fetch_range(archive, offset, offset + size, target)
    else:
        with Path(archive).open("rb") as file, target.open("wb") as copy:
            file.seek(offset)
            left = size
            while left and (piece := file.read(min(left, _BLOCK))):
                copy.write(piece)
                left -= len(piece)
    if target.stat().st_size != size:
        raise tarfile.ReadError(f"the archive ends inside the member, after {target.stat().st_size} of {size} bytes")


def _copy_url(url: str, target: Path) -> None:
    """Copy a remote file, or every image of a remote folder."""
    scheme = url.partition("://")[0]
    with contextlib.suppress(FileNotFoundError):  # a folder has no bytes of its own
        remote.fetch(url, target)
    if target.is_file():
        return
    if scheme.startswith("http"):  # a web server lists no folders
        raise FileNotFoundError(url)
    names = [str(entry["name"]) for entry in remote.listing(url) if entry.get("type") != "directory"]
    target.mkdir(exist_ok=True)
    with ThreadPoolExecutor(_ASKING) as pool:
        fetched = (
            partial(remote.fetch, f"{scheme}://{n}", target / PurePosixPath(n).name) for n in names if _is_image(n)
        )
        list(pool.map(lambda copy: copy(), fetched))


def _is_image(name: str) -> bool:
    return name.rpartition(".")[2].lower() in CODECS


def _suffix(path: str) -> str:
    return PurePosixPath(plain_path(path)).suffix
