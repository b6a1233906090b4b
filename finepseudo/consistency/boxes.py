"""Boxes of persons by clip and frame, from a file: what ActorCutMix cuts out.

The file is Parquet or CSV with the columns `key`, `frame` (its index in the clip), `left`, `top`, `right`, `bottom`
(shares of the frame's width and height) and `score` (the detector's); a row each box. A frame without rows has those of
the nearest frame with some, so that a detector needs not look at every frame. A clip without a person has one row of
score 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor

from shards.errors import UserError
from shards.types import Origin

SIDES = ("left", "top", "right", "bottom")
SLACK = 0.01
"""How far a box may stand out of the frame: detectors round."""
TYPES = {"key": pa.string(), "frame": pa.int32(), **dict.fromkeys((*SIDES, "score"), pa.float32())}


@dataclass(frozen=True, slots=True)
class _Clip:
    """Frames that were looked at, ascending [F], and the boxes [K, 4] that are sure enough in each."""

    frames: npt.NDArray[np.int64]
    boxes: Sequence[npt.NDArray[np.float32]]

    def near(self, frame: int) -> npt.NDArray[np.float32]:
        """Give the boxes of the nearest frame that was looked at, of two equally near ones the earlier."""
        return self.boxes[int(np.abs(self.frames - frame).argmin())]


class Boxes:
    """The boxes of a file, by clip."""

    def __init__(self, path: Path, min_score: float) -> None:
        """Read the file; boxes whose score is below `min_score` are none. UserError: it is not such a file."""
        self._clips: dict[str, _Clip] = {}
        table = _read(path).sort_by([("key", "ascending"), ("frame", "ascending")])
        frame, score = (table[name].to_numpy() for name in ("frame", "score"))
        boxes = np.stack([table[name].to_numpy() for name in SIDES], axis=1).astype(np.float32)
        keys = table["key"].to_numpy(zero_copy_only=False)
        for one in _runs(keys):
            parts = [slice(one.start + part.start, one.start + part.stop) for part in _runs(frame[one])]
            kept = [boxes[part][score[part] >= min_score] for part in parts]
            self._clips[str(keys[one.start])] = _Clip(np.array([frame[part.start] for part in parts], np.int64), kept)

    def lacks(self, keys: Sequence[str]) -> list[str]:
        """List those of the clips of which the file says nothing."""
        return [key for key in keys if key not in self._clips]

    def of(self, keys: Sequence[str], origin: Origin, height: int, width: int) -> Tensor:
        """Give the boxes in the pixels of view 0 of clips [B, T, K, 4], as `mixers.box_mask` takes them."""
        ids, edges = origin.frame_ids[:, 0].tolist(), origin.edges[:, 0].numpy()
        found = [[self._clips[key].near(frame) for frame in frames] for key, frames in zip(keys, ids, strict=True)]
        most = max((len(boxes) for frames in found for boxes in frames), default=0)
        out = np.zeros((len(keys), origin.frame_ids.shape[2], most, 4), np.float32)
        for row, frames in enumerate(found):
            for time, boxes in enumerate(frames):
                out[row, time, : len(boxes)] = _seen(boxes, edges[row], height, width)
        return torch.from_numpy(out)


def _seen(
    boxes: npt.NDArray[np.float32], edges: npt.NDArray[np.float32], height: int, width: int
) -> npt.NDArray[np.float32]:
    """Map boxes [K, 4] from shares of the frame to pixels of a view; a mirrored one swaps left and right."""
    (left, top), (right, bottom) = edges[:2], edges[2:]
    across, down = ((boxes[:, 0::2] - left) / (right - left), (boxes[:, 1::2] - top) / (bottom - top))
    across = np.sort(across, axis=1) * width
    return np.stack([across[:, 0], down[:, 0] * height, across[:, 1], down[:, 1] * height], axis=1)


def _runs(values: npt.NDArray[np.generic]) -> list[slice]:
    """Cut into stretches of equal values."""
    starts = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)] if len(values) else []
    return [slice(a, b) for a, b in pairwise(starts)]


def _read(path: Path) -> pa.Table:
    """Read and check the table."""
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
        missing = [name for name in TYPES if name not in table.column_names]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        table = table.select(list(TYPES)).cast(pa.schema(list(TYPES.items())))
        if any(column.null_count for column in table.columns):
            raise ValueError("an empty cell")
        bad = _crooked(table)
        if bad is not None:
            raise ValueError(f"row {bad + 1}: sides must be shares of the frame, left < right and top < bottom")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: no table of boxes ({' '.join(str(error).split())}); docs/files.md describes it"
        ) from error
    return table


def _crooked(table: pa.Table) -> int | None:
    """Find the first row whose box has no area or does not lie in the frame."""
    left, top, right, bottom = (table[name].to_numpy() for name in SIDES)
    sound = (table["score"].to_numpy() == 0) | (
        (left >= -SLACK)
        & (left < right)
        & (right <= 1 + SLACK)
        & (top >= -SLACK)
        & (top < bottom)
        & (bottom <= 1 + SLACK)
    )
    return None if sound.all() else int(np.flatnonzero(~sound)[0])
