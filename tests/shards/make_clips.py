"""Small real videos for tests, with the frame number drawn into each image as eight black or white blocks."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"


def need_data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def numbered_frame(number: int, width: int, height: int) -> np.ndarray:
    bits = np.array([(number >> bit) & 1 for bit in range(8)], np.uint8) * 255
    columns = bits[np.arange(width) * 8 // width]
    return np.broadcast_to(columns[None, :, None], (height, width, 3)).copy()


def read_number(image: np.ndarray) -> int:
    """Read the number back from RGB uint8 [H, W, 3]."""
    width = image.shape[1]
    centres = (np.arange(8) * 2 + 1) * width // 16
    bright = image[:, centres].mean(axis=(0, 2)) > 127
    return int((bright * (1 << np.arange(8))).sum())


def _muxer(options: dict[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (options or {}).items() if name == "movflags"}


def write_numbered(
    path: Path,
    n: int,
    *,
    codec: str = "libx264",
    fps: int = 25,
    width: int = 160,
    height: int = 96,
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
) -> Path:
    """Write frames numbered 0..n-1; `times` gives their time stamps in units of 1/fps (default 0..n-1)."""
    with av.open(str(path), "w", container_options=_muxer(options)) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(n):
            frame = av.VideoFrame.from_ndarray(numbered_frame(index, width, height), format="rgb24")
            frame.pts = times[index] if times else index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def read_numbers(source: object) -> list[int]:
    with av.open(source) as container:
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix into the track header of an MP4: a point (x, y) is shown at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", *(65536 * n for n in (a, b, 0, c, d, 0)), 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
