"""The clip table every data set is read into and the rules of keys.

A table has one row a clip: key, path, label (NO_LABEL when unknown), role, source (the video it was cut from),
start and end (seconds, null for the whole file). True labels of unlabelled clips live here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import UserError
from shards.files import atomic
from shards.sources.sources import plain_path
from shards.storage.remote import is_url
from shards.types import NO_LABEL

CLIP_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("label", pa.int32()),
        ("role", pa.string()),
        ("source", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
    ]
)
METADATA = b"finepseudo"
_MAX_KEY = 90  # a USTAR member name holds 100 bytes: the key and ".webm" must fit


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotations:
    """All clips of a data set (CLIP_SCHEMA, sorted by key), its class names (index = label) and its version.

    known: in an open world only classes[:known] may be labelled, the others are novel; None = all may.
    remarks: what its user should know of how it was read, one line each; not stored with the table.
    """

    clips: pa.Table
    classes: list[str]
    dataset: str
    version: str
    known: int | None = None
    remarks: Sequence[str] = field(default=(), compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One row of the table before it has a key. `name` is what the key is made from."""

    name: str
    path: str
    label: int
    role: str
    source: str
    start: float | None = None
    end: float | None = None


def sanitise_key(name: str) -> str:
    """Make a tar-safe key: `[A-Za-z0-9_-]+`, no dots (a dot would end the key of a WebDataset sample).

    A name with characters outside ASCII, or too long for a tar header, ends with a hash of the whole name, because
    what is left of it alone would collide; plain names stay readable.
    """
    key = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if name.isascii() and 0 < len(key) <= _MAX_KEY:
        return key
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{key[: _MAX_KEY - 11]}-{digest}"


def make_annotations(rows: Sequence[Clip], classes: Sequence[str], dataset: str, version: str) -> Annotations:
    """Give keys, refuse collisions (both paths named) and labels out of range, sort by key."""
    if not rows:
        raise UserError(f"data set {dataset}: no clips found; check data.root and data.lists")
    if not all(name.strip() for name in classes):
        raise UserError(f"data set {dataset}: a class has an empty name; correct the list")
    _check_labels(rows, len(classes), dataset)
    by_key: dict[str, Clip] = {}
    for name, row in zip(_key_names(rows), rows, strict=True):
        key = sanitise_key(name)
        other = by_key.setdefault(key, row)
        if other is not row:
            raise UserError(f"{dataset}: {other.path} and {row.path} would both get the key {key}; rename one of them")
    keys = sorted(by_key)
    ordered = [by_key[key] for key in keys]
    columns = {name: [getattr(row, name) for row in ordered] for name in CLIP_SCHEMA.names if name != "key"}
    try:
        table = pa.table({"key": keys, **columns}, schema=CLIP_SCHEMA)
    except UnicodeEncodeError as error:
        raise UserError(f"{dataset}: {error.object!r} is no valid text; rename the file or fix the list") from error
    return Annotations(clips=table, classes=list(classes), dataset=dataset, version=version)


def write_clips(path: Path, ann: Annotations) -> None:
    """Write the clip table with the class names in its metadata, atomically."""
    meta = {"dataset": ann.dataset, "version": ann.version, "classes": ann.classes, "known": ann.known}
    write_table(path, ann.clips, meta)


def read_clips(path: Path) -> Annotations:
    """Read a clip table back. Raises UserError when the file is missing or is no clip table."""
    table, meta = read_table(path, CLIP_SCHEMA)
    return Annotations(
        clips=table,
        classes=meta["classes"],
        dataset=meta["dataset"],
        version=meta["version"],
        known=meta.get("known"),
    )


def write_table(path: Path, table: pa.Table, meta: Mapping[str, Any]) -> None:
    """Write a parquet file with JSON metadata under the key `finepseudo`, atomically."""
    with atomic(path) as temporary:
        pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(meta)}), temporary)


def read_table(path: Path, schema: pa.Schema) -> tuple[pa.Table, dict[str, Any]]:
    """Read a parquet file and its JSON metadata, checking the columns."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; run the stage that writes it first") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable parquet file ({error}); remove it and run again") from error
    raw = (table.schema.metadata or {}).get(METADATA)
    if raw is None or not table.schema.remove_metadata().equals(schema):
        raise UserError(f"{path} has other columns than expected ({', '.join(schema.names)}); remove it and run again")
    return table.replace_schema_metadata(None), json.loads(raw)


def _check_labels(rows: Sequence[Clip], n_classes: int, dataset: str) -> None:
    bad = [row for row in rows if not (row.label == NO_LABEL or 0 <= row.label < n_classes)]
    if bad:
        shown = "; ".join(f"{row.path}: {row.label}" for row in bad[:3])
        raise UserError(f"{dataset}: {len(bad)} labels outside 0..{n_classes - 1}, first: {shown}; correct the list")


def _key_names(rows: Sequence[Clip]) -> list[str]:
    """Names as they are when unique, else paths below the folder all clips share, at last with their extensions.

    Parts of one video have its name in common; the times of each are added, in milliseconds.
    """
    paths = [PurePath(plain_path(row.path)) for row in rows]
    shared = _shared_length([path.parent.parts for path in paths])
    parts = Counter(row.path for row in rows)
    times = [_times(row) if parts[row.path] > 1 else "" for row in rows]
    plain = [row.name for row in rows]
    timed = [name + time for name, time in zip(plain, times, strict=True)]
    below = ["/".join((*path.parts[shared:-1], path.stem)) + time for path, time in zip(paths, times, strict=True)]
    for names in (plain, timed, below):
        if len(set(names)) == len(names):
            return names
    return ["/".join(path.parts[shared:]) + time for path, time in zip(paths, times, strict=True)]


def _times(row: Clip) -> str:
    end = "" if row.end is None else f"-{round(1000 * row.end):08d}"
    return f"_{round(1000 * (row.start or 0)):08d}{end}"


def _shared_length(parts: Sequence[tuple[str, ...]]) -> int:
    low, high = min(parts), max(parts)
    same = [a == b for a, b in zip(low, high, strict=False)]
    return same.index(False) if False in same else len(same)


def absolute(folder: str | Path, name: str) -> str:
    """Join and make absolute without touching symbolic links, so that jobs on other nodes find the file.

    The folder may be a URL. A name that is a URL stays what it is; a tar behind `tar://..::` is joined as a name is.
    """
    member, chained, archive = name.partition("::")
    if chained and name.startswith("tar://"):
        return f"{member}::{absolute(folder, archive)}"
    if is_url(name):
        return name
    if is_url(str(folder)):
        return f"{str(folder).rstrip('/')}/{name}"
    return str(Path(folder).expanduser().absolute() / name)
