"""How a video is to be shown: turned by quarters, mirrored, or both, as phones write it into the display matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

_MATRIX = "DISPLAYMATRIX"


@dataclass(frozen=True, slots=True)
class Orientation:
    """First transpose, then reverse rows, then reverse columns: the eight ways an image can lie."""

    transpose: bool = False
    reverse_rows: bool = False
    reverse_columns: bool = False

    @property
    def upright(self) -> bool:
        """Tell whether nothing has to be done."""
        return not (self.transpose or self.reverse_rows or self.reverse_columns)

    def apply(self, plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn an image [H, W] or [H, W, C]."""
        turned: npt.NDArray[Any] = plane.swapaxes(0, 1) if self.transpose else plane
        turned = turned[::-1] if self.reverse_rows else turned
        return turned[:, ::-1] if self.reverse_columns else turned


def orientation(frame: av.VideoFrame) -> Orientation:
    """Read the display matrix of a frame: a point (x, y) is shown at (a x + c y, b x + d y).

    A matrix between the quarters counts as the nearest of the eight.
    """
    try:
        matrix = frame.side_data.get(_MATRIX)
    except ValueError:  # this PyAV knows no name for another side data of the frame; it still tells the rotation
        return _turned(round((frame.rotation or 0) / 90) % 4)
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transpose=True, reverse_rows=b < 0, reverse_columns=c < 0)
    return Orientation(reverse_rows=d < 0, reverse_columns=a < 0)


def _turned(quarters: int) -> Orientation:
    """Turn counter-clockwise."""
    return Orientation(transpose=quarters % 2 == 1, reverse_rows=quarters in (1, 2), reverse_columns=quarters in (2, 3))
