"""Files behind URLs, through fsspec: the one place that knows protocols, patience and what their libraries raise.

Credentials and endpoints are those of fsspec and of the protocol's library (`AWS_*`, `FSSPEC_S3_ENDPOINT_URL`, their
configuration files); nothing of that kind is in a recipe.
"""

from __future__ import annotations

import errno
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from shards.errors import SampleError, UserError
from shards.files import FULL_DISK

CONNECT_S, READ_S, ATTEMPTS = 10, 20, 3
"""Patience of one request: seconds to connect, seconds without a byte, attempts. A server that is gone never hangs."""
_BROKEN_BODIES = 2  # s3fs: attempts at an answer that broke off, each with the attempts above
_EXTRA = "pip install 'finepseudo[remote]'"
_LIBRARIES = {"s3": _EXTRA, "s3a": _EXTRA, "http": _EXTRA, "https": _EXTRA, "gs": "pip install gcsfs"}
_GONE = (404, 410)
_CHUNK = 64 << 20

FileSystem = Any
"""A file system of fsspec."""


class RemoteError(OSError):
    """What lies behind a URL cannot be reached: network, credentials or the server; the text says which."""


def is_url(path: str) -> bool:
    """Tell a URL from a path."""
    return "://" in path


def filesystem(url: str) -> tuple[FileSystem, str]:
    """Give the file system of a URL and the path inside it. UserError when the protocol's library is not here."""
    protocol = url.partition("://")[0]
    try:
        found, path = fsspec.core.url_to_fs(url, use_listings_cache=False, **_patience(protocol))
    except (ImportError, ValueError) as error:
        way_out = _LIBRARIES.get(protocol, "install fsspec's library for it, or correct the URL")
        raise UserError(f"{url}: {protocol}:// cannot be read here ({one_line(error)}); {way_out}") from error
    if hasattr(found, "retries"):  # of s3fs, 5 by default, and its calls are nested: 75 time-outs for one read
        found.retries = _BROKEN_BODIES
    return found, str(path)


def _patience(protocol: str) -> dict[str, Any]:
    """Give time-outs and attempts, under what the user's own fsspec configuration says."""
    configured = fsspec.config.conf.get(protocol, {})
    if protocol in ("s3", "s3a"):
        ours = {"connect_timeout": CONNECT_S, "read_timeout": READ_S}
        retries = {"total_max_attempts": ATTEMPTS, "mode": "standard"}
        return {"config_kwargs": {**ours, "retries": retries, **configured.get("config_kwargs", {})}}
    if protocol in ("http", "https") and "client_kwargs" not in configured:
        import aiohttp

        return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=READ_S)}}
    return {}


@contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Let FileNotFoundError, damaged tars and a full disk pass; turn all else that is raised into RemoteError."""
    try:
        yield
    except (tarfile.TarError, UserError, SampleError, RemoteError):
        raise
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec's web client says "not found" whatever went wrong, and why in the cause
        if isinstance(cause, OSError) or getattr(cause, "status", _GONE[0]) not in _GONE:
            raise RemoteError(errno.EIO, one_line(cause or error), url) from error
        raise
    except Exception as error:  # every library has its own kinds, and none of them may end a run
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise RemoteError(errno.EIO, one_line(error), url) from error


def one_line(error: BaseException) -> str:
    """Say what an exception says, on one line and never empty."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def describe(url: str) -> dict[str, Any]:
    """Give size, type and whatever tells versions of a remote file apart. FileNotFoundError or RemoteError."""
    with remote_errors(url):
        found, path = filesystem(url)
        return dict(found.info(path))


def listing(url: str) -> list[dict[str, Any]]:
    """List what lies directly in a remote folder, sorted by name. FileNotFoundError or RemoteError."""
    with remote_errors(url):
        found, path = filesystem(url)
        entries = (dict(entry) for entry in found.ls(path, detail=True))
        inside = (entry for entry in entries if entry["name"].rstrip("/") != path.rstrip("/"))
        return sorted(inside, key=lambda entry: str(entry["name"]))


def version(info: dict[str, Any]) -> str:
    """Write down what changes when the remote file changes: hash or version where there is one, else its times."""
    for names in (("ETag", "etag", "generation", "Content-MD5", "md5Hash"), ("LastModified", "Last-Modified", "mtime")):
        told = [f"{name}={info[name]}" for name in names if info.get(name)]
        if told:
            return " ".join(told)
    return ""


def read_range(url: str, start: int, end: int) -> bytes:
    """Read the bytes start..end-1 of a remote file. FileNotFoundError or RemoteError."""
    with remote_errors(url):
        found, path = filesystem(url)
        return bytes(found.cat_file(path, start=start, end=end))


def fetch(url: str, target: Path) -> None:
    """Copy a remote file to a local name. FileNotFoundError, RemoteError, or OSError of a full disk."""
    with remote_errors(url):
        found, path = filesystem(url)
        found.get_file(path, str(target))


def fetch_range(url: str, start: int, end: int, target: Path) -> None:
    """Copy the bytes start..end-1 of a remote file to a local name, a piece at a time."""
    with target.open("wb") as file:
        for begin in range(start, end, _CHUNK):
            file.write(read_range(url, begin, min(begin + _CHUNK, end)))
