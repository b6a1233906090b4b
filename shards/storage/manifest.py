"""The index of a shard folder: where each clip's bytes are and what they hold, checked against the files.

The folder may be a URL; or a local one whose tars lie in the store that its `store.json` names.
Columns are arrays, not Python objects: 240,000 clips take some tens of megabytes. A manifest can be pickled; file
descriptors are opened where they are used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.errors import SampleError, UserError
from shards.files import sha256_file
from shards.storage.config import CacheConfig
from shards.storage.folders import Folder, LocalFolder, open_folder
from shards.storage.tars import Extent, Tar, open_tars

FORMAT = 1
_READ_BUFFER, _READ_ROWS = 1 << 16, 1 << 14
MANIFEST_JSON, MANIFEST_PARQUET = "manifest.json", "manifest.parquet"
STORE = "store.json"
MANIFEST_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("n_frames", pa.int32()),
        ("fps", pa.float32()),
        ("codec", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestRow:
    """One clip: its place in the shard (bytes), true decoded frame count, frames a second, codec, pixels, hash."""

    key: str
    shard: int
    offset: int
    size: int
    n_frames: int
    fps: float
    codec: str
    width: int
    height: int
    sha256: str


class Manifest:
    """A checked shard folder. Make it with `Manifest.open`. `folder`: its path or URL."""

    def __init__(
        self,
        place: Folder,
        store: Folder,
        table: pa.Table,
        info: dict[str, Any],
        cache: CacheConfig,
        *,
        scattered: bool,
    ) -> None:
        """Hold the rows, sorted by key, and the shard list. Use `open`, which checks both against the files."""
        self.folder: Path | str = place.path if isinstance(place, LocalFolder) else place.url
        self.profile: str = info["profile"]
        self.shards: tuple[str, ...] = tuple(shard["name"] for shard in info["shards"])
        self.sha256: str = info["manifest_sha256"]
        self._table = table
        self._keys = _key_array(table)
        self._shard: npt.NDArray[np.int32] = _numbers(table, "shard")
        self._offset: npt.NDArray[np.int64] = _numbers(table, "offset")
        self._size: npt.NDArray[np.int64] = _numbers(table, "size")
        self.n_frames: npt.NDArray[np.int32] = _numbers(table, "n_frames")
        tars = [Tar(shard["name"], shard["bytes"], str(shard.get("sha256"))) for shard in info["shards"]]
        self._tars = open_tars(store, tars, cache, scattered=scattered)

    @staticmethod
    def open(folder: Path | str, cache: CacheConfig | None = None, *, scattered: bool = False) -> Manifest:
        """Read and check a shard folder. Raises UserError when a file is missing, cut or from another write.

        Remote shards are read through the node's `cache`; `scattered` says that clips will be read from all over the
        shards, so that a whole tar is worth copying only when the cache holds them all.
        """
        place = open_folder(folder)
        info = _read_info(place)
        store = _store_of(place)
        table = _read_rows(place, info["manifest_sha256"])
        _check_rows(place, table, _check_shards(store, info["shards"]))
        manifest = Manifest(place, store, table, info, cache or CacheConfig(), scattered=scattered)
        pa.default_memory_pool().release_unused()
        return manifest

    def __len__(self) -> int:
        """Count the clips."""
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        """Say whether a clip is stored here (clips in quarantine are not)."""
        return isinstance(key, str) and self._find(key) is not None

    @property
    def keys(self) -> list[str]:
        """List all keys in order (made again at each call; positions count in this order)."""
        keys: list[str] = self._table.column("key").to_pylist()
        return keys

    @property
    def codecs(self) -> tuple[str, ...]:
        """Name the codecs that occur."""
        return tuple(sorted(self._table.column("codec").unique().to_pylist()))

    @cached_property
    def sizes(self) -> frozenset[tuple[int, int]]:
        """List the different (width, height) of the stored images, pixels."""
        sides = np.stack([_numbers(self._table, name) for name in ("width", "height")], axis=1)
        return frozenset((int(width), int(height)) for width, height in np.unique(sides, axis=0))

    def positions(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Find many rows at once: int64 [N]. Raises UserError for a key that is not stored."""
        found = self._find_all(keys)
        if (found < 0).any():
            self._position(keys[int(np.argmax(found < 0))])
        return found

    def missing(self, keys: Sequence[str]) -> list[str]:
        """List those of many keys that are not stored."""
        return [keys[int(place)] for place in np.flatnonzero(self._find_all(keys) < 0)]

    def shards_of(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Give the number of the shard each clip lies in: int64 [N]."""
        return self._shard[self.positions(keys)].astype(np.int64)

    def row(self, key: str) -> ManifestRow:
        """Give one clip's row. Raises UserError when the key is not stored."""
        index = self._position(key)
        values = self._table.slice(index, 1).to_pylist()[0]
        return ManifestRow(**values)

    def read(self, key: str) -> bytes:
        """Read one clip's encoded video and compare its hash: decoders take many flipped bits for images.

        Raises SampleError `shard_unreadable` when the tar vanished, was cut, or its store cannot be reached,
        `hash_mismatch` when these are not the bytes that were written.
        """
        clip = self._extent(key)
        tar = self.shards[clip.shard]
        for again in (True, False):
            try:
                data = self._tars.read(clip)
            except OSError as error:
                raise SampleError(key, "shard_unreadable", f"{tar}: {error}") from error
            if hashlib.sha256(data).hexdigest() == clip.sha256:
                return data
            if not (again and self._tars.forget(clip)):
                break
        if len(data) != clip.size:
            raise SampleError(key, "shard_unreadable", f"{tar} ends inside the clip")
        raise SampleError(key, "hash_mismatch", f"{tar} was changed; `finepseudo write-shards --repair` heals it")

    def close(self) -> None:
        """Close the tar files that were opened; reading opens them again."""
        self._tars.close()

    def _extent(self, key: str) -> Extent:
        index = self._position(key)
        sha256: str = self._table.column("sha256")[index].as_py()
        return Extent(int(self._shard[index]), int(self._offset[index]), int(self._size[index]), sha256)

    def _find(self, key: str) -> int | None:
        encoded = key.encode()
        index = int(np.searchsorted(self._keys, encoded))
        return index if index < len(self._keys) and self._keys[index] == encoded else None

    def _find_all(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Find many rows: int64 [N], -1 for a key that is not stored. In parts, which take little memory."""
        found = np.full(len(keys), -1, np.int64)
        for first in range(0, len(keys), _READ_ROWS):
            wanted = np.array([key.encode() for key in keys[first : first + _READ_ROWS]])
            places = np.searchsorted(self._keys, wanted)
            stored = self._keys[np.minimum(places, len(self._keys) - 1)] == wanted
            found[first : first + _READ_ROWS][stored] = places[stored]
        return found

    def _position(self, key: str) -> int:
        index = self._find(key)
        if index is None:
            raise UserError(f"clip {key} is not in {self.folder}/{MANIFEST_PARQUET}; was it quarantined?")
        return index


def written_shards(folder: Path | str) -> tuple[Folder, list[dict[str, Any]]]:
    """Give where the tars lie and what manifest.json says of each: name, bytes, sha256, clips. Nothing is compared."""
    place = open_folder(folder)
    return _store_of(place), list(_read_info(place)["shards"])


def _store_of(place: Folder) -> Folder:
    """Find where the tars lie: in the folder itself, or where its `store.json` points."""
    if not isinstance(place, LocalFolder):
        return place
    try:
        return open_folder(json.loads(place.read(STORE))["url"])
    except FileNotFoundError:
        return place
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{place}/{STORE} cannot be read ({error}); write the shards again") from error


def _read_rows(place: Folder, sha256: str) -> pa.Table:
    """Read manifest.parquet when it is the file that manifest.json was written for."""
    path = f"{place}/{MANIFEST_PARQUET}"
    try:
        with place.local(MANIFEST_PARQUET) as local:
            if sha256_file(local) != sha256:
                raise UserError(f"{path} is not the file {MANIFEST_JSON} was written for; write the shards again")
            with pq.ParquetFile(local, buffer_size=_READ_BUFFER) as file:
                columns = [_column(file, field) for field in MANIFEST_SCHEMA]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); write the shards again") from error
    return pa.Table.from_arrays(columns, schema=MANIFEST_SCHEMA)


def _read_info(place: Folder) -> dict[str, Any]:
    path = f"{place}/{MANIFEST_JSON}"
    try:
        info = json.loads(place.read(MANIFEST_JSON))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: the shards are not (completely) written; write them first") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); write the shards again") from error
    needed = {"format", "profile", "shards", "manifest_sha256", "clips"}
    if not isinstance(info, dict) or not needed <= set(info) or info["format"] != FORMAT:
        raise UserError(f"{path} is not a manifest of format {FORMAT}; write the shards again with this version")
    return info


_MAKES_AGAIN = "`finepseudo write-shards --repair` makes it again"


def _check_shards(store: Folder, shards: Sequence[dict[str, Any]]) -> npt.NDArray[np.int64]:
    """Compare names and sizes with the files, by one look at their folder; give the sizes in bytes."""
    try:
        found = store.sizes()
    except OSError as error:
        raise UserError(f"{store} cannot be listed ({error.strerror}); check its permissions") from error
    for shard in shards:
        name = str(shard["name"])
        if Path(name).name != name:
            raise UserError(f"{store}/{MANIFEST_JSON} names {name}, outside the folder; write the shards again")
        if name not in found:
            raise UserError(
                f"{store}/{name} is missing; copy it back, or `finepseudo write-shards --repair` makes it again"
            )
        if found[name] != shard["bytes"]:
            raise UserError(
                f"{store}/{name} has {found[name]} bytes, the manifest says {shard['bytes']}; "
                f"copy the whole file back, or {_MAKES_AGAIN}"
            )
    return np.array([shard["bytes"] for shard in shards], dtype=np.int64)


def _check_rows(place: Folder, table: pa.Table, sizes: npt.NDArray[np.int64]) -> None:
    """Refuse rows outside their tar, doubled keys and keys out of order, before anything is read by them."""
    if any(column.null_count for column in table.columns):
        raise UserError(f"{place}/{MANIFEST_PARQUET}: values are missing; write the shards again")
    shard, offset, size = (_numbers(table, name) for name in ("shard", "offset", "size"))
    keys = table.column("key")
    inside = (shard >= 0) & (shard < len(sizes)) & (offset >= 0) & (size > 0)
    if inside.all():
        inside = offset + size <= sizes[shard]
    if not inside.all():
        key = keys[int(np.argmin(inside))].as_py()
        raise UserError(f"{place}/{MANIFEST_PARQUET}: clip {key} lies outside its tar; write the shards again")
    if len(keys) > 1 and not pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        raise UserError(f"{place}/{MANIFEST_PARQUET}: keys doubled or out of order; write the shards again")


def _column(file: pq.ParquetFile, field: pa.Field) -> pa.Array:
    """Read one column, in pieces, into memory apart from theirs: so that all of theirs can be given back.

    Not pq.read_table, whose dataset reader may abort the process at exit when torch is loaded.
    """
    batches = file.iter_batches(_READ_ROWS, columns=[field.name], use_threads=False)
    chunks = [batch.column(0).cast(field.type) for batch in batches]
    return pa.concat_arrays(chunks or [pa.array([], field.type)], memory_pool=pa.system_memory_pool())


def _numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """Give a column of one chunk as numbers [N]. Arrow's own `to_numpy` would import pandas, 30 MB, to do the same."""
    return np.from_dlpack(table.column(name).chunk(0))


def _key_array(table: pa.Table) -> npt.NDArray[np.bytes_]:
    """Keys as fixed-width bytes [N], which sort as the strings do; made without a Python object a key."""
    column = table.column("key").chunk(0)
    width = max(pc.max(pc.binary_length(column)).as_py() or 1, 1)
    padded = pc.ascii_rpad(column, width=width, padding="\0")
    return np.frombuffer(padded.buffers()[2], dtype=f"S{width}", count=len(column))
