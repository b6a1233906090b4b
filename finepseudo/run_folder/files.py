"""Text, JSON and tables that other processes may read, written whole, and their hashes.

Every file is written as `shards.files` does it: a reader, or the same command after a kill, sees the old file or the
new one, never a part of it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards import files
from shards.errors import UserError
from shards.files import atomic

Json = Any
"""What a JSON file can hold."""

_hashes: dict[tuple[str, int, int, int], str] = {}


def sha256_file(path: Path) -> str:
    """Hash a file's bytes; the value is kept for as long as size, inode and modification time stay."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _hashes:
        _hashes[key] = files.sha256_file(path)
    return _hashes[key]


def sha256_json(value: Json) -> str:
    """Hash a JSON-able value by its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Json) -> None:
    """Write JSON atomically, indented, keys in the given order."""
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def read_json(path: Path) -> Json:
    """Read a JSON file; a damaged one is the user's business, in one line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it and type the same command again") from error


def json_lines(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Read the JSON objects of whole lines; and count the lines that are none, as a node that crashed leaves them."""
    found, bad = [], 0
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            found.append(value)
        elif line.strip():
            bad += 1
    return found, bad


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet table atomically; equal tables give equal bytes."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
