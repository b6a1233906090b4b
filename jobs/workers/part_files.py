"""Part files: the unit in which the pool is embedded, scored and tested; a stopped job makes only the missing ones.

The hash of a part stands beside it, in a hidden file that is written first: parquet takes flipped bytes for numbers. A
part that is cut or changed is moved aside where it is read, and made again by the same command.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.errors import UserError
from shards.files import atomic, sha256_file, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

GALLERY = "gallery.safetensors"
"""The file of a round's packed gallery, beside the parts of its scores."""
PREDICTED = "parts"
"""The folder of the parts of a test."""


def chunks(keys: Sequence[str], size: int) -> list[dict[str, Any]]:
    """Cut sorted keys into rows of fixed size, each with the name of its part file."""
    ordered = sorted(keys)
    return [
        {"part": f"part-{i:06d}.parquet", "keys": ordered[start : start + size]}
        for i, start in enumerate(range(0, len(ordered), size))
    ]


def parts(folder: Path) -> list[Path]:
    """List the part files in key order."""
    return sorted(folder.glob("part-*.parquet"))


def write_part(path: Path, table: pa.Table) -> None:
    """Write a part, its hash first; equal tables give equal bytes."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
        write_bytes(_sum_of(path), sha256_file(temporary).encode())


def is_whole(path: Path) -> bool:
    """Tell whether a part is there as it was written."""
    try:
        return sha256_file(path) == _sum_of(path).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return False


def _sum_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of a part after a look at its hash."""
    try:
        if _sum_of(path).exists() and not is_whole(path):
            raise pa.ArrowInvalid("its bytes are not the ones that were written")
        return pq.read_table(path, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        aside = path.with_name(f"{path.name}.damaged")
        with suppress(OSError):
            path.replace(aside)
        raise UserError(
            f"{path}: damaged ({' '.join(str(error).split())[:120]}); it is {aside.name} now, and the same command "
            "makes it again"
        ) from error


def read_parts(paths: Sequence[Path], columns: Sequence[str]) -> pa.Table:
    """Read columns of part files into one table, in key order."""
    return pa.concat_tables([_read(path, columns) for path in paths])


def matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Give a column of equally long float lists as [N, D], without a Python object a number."""
    blocks = [chunk.flatten().to_numpy() for chunk in column.chunks]
    flat = np.concatenate(blocks) if blocks else np.empty(0, np.float32)
    rows: npt.NDArray[np.float32] = flat.reshape(len(column), -1) if len(column) else flat.reshape(0, 0)
    return rows


def of_keys(table: pa.Table, wanted: Set[str]) -> pa.Array:
    """Tell which rows of a part have one of these keys, bool [N].

    Arrow's own look-up would hash all that is wanted, a whole pool, for every part: longer than the part is aligned.
    """
    return pa.array([key in wanted for key in table["key"].to_pylist()], pa.bool_())


def read_embeddings(paths: Sequence[Path], wanted: Set[str] | None = None) -> tuple[list[str], Tensor]:
    """Read the valid embeddings [N, T, F] of part files, of the keys `wanted` only where given."""
    import torch

    names: list[str] = []
    found: list[Tensor] = []
    for path in paths:  # one by one: the pool's embeddings together may be larger than the memory
        table = _read(path, ["key", "embedding", "T", "F", "valid"])
        table = table.filter(table["valid"] if wanted is None else pc.and_(table["valid"], of_keys(table, wanted)))
        if table.num_rows:
            names += table["key"].to_pylist()
            t, f = table["T"][0].as_py(), table["F"][0].as_py()
            found.append(torch.from_numpy(matrix(table["embedding"])).view(-1, t, f))
    return names, torch.cat(found) if found else torch.empty(0, 1, 1)
