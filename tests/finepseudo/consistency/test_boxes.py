"""Boxes of persons: what a file says, and where it lies in a view that was cropped and mirrored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.consistency.boxes import TYPES, Boxes
from finepseudo.consistency.mixers import box_mask
from shards.errors import UserError
from shards.read.augment import AugmentParams
from shards.types import Origin

Row = tuple[str, int, float, float, float, float, float]
ROWS: list[Row] = [
    ("b", 4, 0.5, 0.0, 1.0, 0.5, 0.9),
    ("a", 2, 0.0, 0.0, 0.5, 1.0, 0.9),
    ("a", 2, 0.75, 0.75, 1.0, 1.0, 0.3),
    ("a", 8, 0.25, 0.25, 0.75, 0.75, 0.4),
    ("nobody", 0, 0.0, 0.0, 0.0, 0.0, 0.0),
]
WHOLE = (0.0, 0.0, 1.0, 1.0)


def write(path: Path, rows: list[Row]) -> Path:
    table = pa.table([list(column) for column in zip(*rows, strict=True)], names=list(TYPES))
    (pq.write_table if path.suffix == ".parquet" else pyarrow.csv.write_csv)(table, path)
    return path


def origin(frames: list[list[int]], edges: tuple[float, ...] = WHOLE) -> Origin:
    return Origin(torch.tensor(frames)[:, None], torch.tensor(edges).expand(len(frames), 1, 4))


@pytest.mark.parametrize("name", ["boxes.parquet", "boxes.csv"])
def test_frames_have_the_sure_boxes_of_the_nearest_frame_that_was_looked_at(tmp_path: Path, name: str) -> None:
    boxes = Boxes(write(tmp_path / name, ROWS), 0.4)
    found = boxes.of(["a", "nobody", "b"], origin([[0, 5, 6], [0, 1, 2], [0, 9, 4]]), 40, 80)
    assert found[0, :, 0].tolist() == [[0, 0, 40, 40], [0, 0, 40, 40], [20, 10, 60, 30]]
    assert not found[1].any()
    assert found[2, :, 0].tolist() == [[40, 0, 80, 20]] * 3
    assert Boxes(tmp_path / name, 0.2).of(["a"], origin([[2]]), 40, 80).shape == (1, 1, 2, 4)
    assert boxes.lacks(["a", "c", "b", "d"]) == ["c", "d"]


@given(st.integers(0, 10**6), st.booleans())
def test_a_box_lies_where_its_pixels_are_after_crop_and_mirror(seed: int, flip: bool) -> None:
    """Oracle: paint the box into the frame, crop and mirror the frame, look where the paint is."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(24, 60, 2))
    x, y = np.sort(rng.integers(0, width + 1, 2)), np.sort(rng.integers(0, height + 1, 2))
    params = AugmentParams(
        area=float(rng.uniform(0.2, 1)),
        x=float(rng.random()),
        y=float(rng.random()),
        flip=flip,
        colour=np.eye(3, 4, dtype=np.float32),
        erase=np.zeros(4, np.float32),
    )
    frame = np.zeros((height, width), bool)
    frame[y[0] : y[1], x[0] : x[1]] = True
    (top, left), (bottom, right) = params.window(height, width)
    wanted = frame[top:bottom, left:right]
    wanted = wanted[:, ::-1] if flip else wanted
    share = (x[0] / width, y[0] / height, x[1] / width, y[1] / height)
    boxes = Boxes.__new__(Boxes)
    boxes._clips = {"a": _clip(share)}
    view = origin([[0]], tuple(params.edges(height, width).tolist()))
    found = box_mask((boxes.of(["a"], view, *wanted.shape) + 1e-4).round(), *wanted.shape)
    assert np.array_equal(found[0, 0, 0].numpy(), wanted)


def _clip(share: tuple[float, ...]):
    from finepseudo.consistency.boxes import _Clip

    return _Clip(np.array([0]), [np.array([share], np.float32)])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("a", 0, 0.5, 0.0, 0.5, 1.0, 0.9), "row 2: sides must be shares"),
        (("a", 0, 0.0, 0.0, 640.0, 480.0, 0.9), "row 2: sides must be shares"),
        (("a", 0, 0.0, 0.6, 0.5, 0.5, 0.9), "row 2: sides must be shares"),
    ],
)
def test_boxes_in_pixels_or_without_area_are_refused(tmp_path: Path, row: Row, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Boxes(write(tmp_path / "boxes.csv", [ROWS[0], row]), 0.4)


def test_what_is_no_table_of_boxes_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("key,frame,left\na,0,0.5\n")
    with pytest.raises(UserError, match=r"boxes.csv: no table of boxes .no column top, right, bottom, score"):
        Boxes(path, 0.4)
    path.write_text("key,frame,left,top,right,bottom,score\na,first,0,0,1,1,1\n")
    with pytest.raises(UserError, match="no table of boxes"):
        Boxes(path, 0.4)
    with pytest.raises(UserError, match="no table of boxes"):
        Boxes(tmp_path / "absent.parquet", 0.4)
