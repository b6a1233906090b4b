"""The large tables of a run, read only when a figure needs them and only the columns it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from finepseudo.report.reading import Bools, Floats, Ints, RunFolder
from shards.types import NO_LABEL

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelColumns:
    """The columns of pseudo_labels.parquet the figures need, [N] each, and the hidden truth by key (NO_LABEL: none)."""

    truth: Ints
    label: Ints
    label_a: Ints
    label_e: Ints
    p_max: Floats
    p_a_max: Floats
    p_e_max: Floats
    accepted: Bools
    valid: Bools


def attempt(run: RunFolder, path: Path, read: Callable[[Path], T]) -> T | None:
    """Read a large file; one that cannot be read is named among the problems."""
    try:
        return read(path)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        run.problems.append(f"{path.relative_to(run.root)} cannot be read: {str(error).splitlines()[0]}")
        return None


def read_labels(path: Path, truth: Mapping[str, int]) -> LabelColumns:
    """Read one pseudo-label table batch by batch."""
    columns = ["key", "label", "label_A", "label_E", "accepted", "valid", "confidence", "p_A_max", "p_E_max"]
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in columns}
    for batch in pq.ParquetFile(path).iter_batches(batch_size=8192, columns=columns):
        keys = batch.column("key").to_pylist()
        parts["key"].append(np.array([truth.get(k, NO_LABEL) for k in keys], np.int64))
        for name in columns[1:]:
            values = batch.column(name)
            absent: float = NO_LABEL if name.startswith("label") else False
            fill = float("nan") if name.endswith(("_max", "confidence")) else absent
            parts[name].append(np.asarray([fill if v is None else v for v in values.to_pylist()]))

    def column(name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.concatenate(parts[name]).astype(dtype) if parts[name] else np.empty(0, dtype)

    return LabelColumns(
        truth=column("key", np.int64),
        label=column("label", np.int64),
        label_a=column("label_A", np.int64),
        label_e=column("label_E", np.int64),
        p_max=column("confidence", np.float64),
        p_a_max=column("p_A_max", np.float64),
        p_e_max=column("p_E_max", np.float64),
        accepted=column("accepted", np.bool_),
        valid=column("valid", np.bool_),
    )


def read_predictions(path: Path) -> tuple[Bools, Floats]:
    """Read predictions.parquet: which predictions are right [N] and how confident they are (max p) [N]."""
    right: list[npt.NDArray[Any]] = []
    confidence: list[npt.NDArray[Any]] = []
    for batch in pq.ParquetFile(path).iter_batches(batch_size=8192, columns=["label", "prediction", "p"]):
        label, prediction = (np.asarray(batch.column(c).to_pylist(), np.int64) for c in ("label", "prediction"))
        p = _list_max(batch.column("p"))
        keep = np.isfinite(p) & (label >= 0)
        right.append((label == prediction)[keep])
        confidence.append(p[keep])
    if not right:
        return np.empty(0, np.bool_), np.empty(0)
    return np.concatenate(right), np.concatenate(confidence)


def _list_max(column: pa.Array) -> Floats:
    """Take the maximum of each list of equal length; NaN for an absent or empty one."""
    out = np.full(len(column), np.nan)
    lengths = np.asarray([0 if n is None else n for n in pa.compute.list_value_length(column).to_pylist()])
    there = lengths > 0
    if there.any():
        values = column.filter(pa.array(there)).flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        starts = np.concatenate([[0], np.cumsum(lengths[there])[:-1]])
        out[there] = np.maximum.reduceat(values, starts)
    return out
