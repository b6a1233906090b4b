"""Videos whose frames carry their clip's and their own number as black and white blocks, and shards made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pyarrow as pa

from shards.storage.manifest import Manifest
from shards.write.config import ShardConfig
from shards.write.plans import plan_shards
from shards.write.writer import finish, write_shard

SIDE = 128
BITS = 8


def image(clip: int, frame: int, side: int = SIDE) -> np.ndarray:
    """Draw two rows of 8 blocks, the frame's number above the clip's, a mirror mark in red and a ramp below."""
    image = np.full((side, side, 3), 20, np.uint8)
    for row, number in enumerate((frame, clip)):
        for bit in range(BITS):
            if number >> bit & 1:
                image[row * side // 4 : (row + 1) * side // 4, bit * side // BITS : (bit + 1) * side // BITS] = 230
    image[side // 2 :] = (40 + np.arange(side)[None, :, None]).astype(np.uint8)
    image[3 * side // 4 :, : side // 4] = (220, 30, 30)
    return image


def number(image: np.ndarray, row: int = 0) -> int:
    """Read a number back from float or uint8 pixels [H, W, 3]; row 0 = frame, row 1 = clip."""
    height, width = image.shape[:2]
    middles = [image[(2 * row + 1) * height // 8, int((bit + 0.5) * width / BITS)].mean() for bit in range(BITS)]
    threshold = 128 if image.dtype == np.uint8 else 0.5
    return sum(1 << bit for bit, value in enumerate(middles) if value > threshold)


def encode(
    path: Path, clip: int, frames: int, codec: str = "libx264", options: Mapping[str, str] | None = None
) -> Path:
    """Write a numbered video; the container follows from the file name."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=dict(options or {}))
        stream.width = stream.height = SIDE
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "bgr0"}.get(codec, "yuv420p")
        for index in range(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image(clip, index), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write(folder: Path, lengths: Mapping[str, int], profile: str, *, per_shard: int = 4) -> Manifest:
    """Make shards of numbered clips: key -> number of frames; the clip's number is its place in `lengths`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [encode(folder / f"{key}.avi", i, n, "ffv1") for i, (key, n) in enumerate(lengths.items())]
    return shard(folder / "shards", dict(zip(lengths, paths, strict=True)), profile, per_shard=per_shard)


def shard(folder: Path, paths: Mapping[str, Path], profile: str, *, per_shard: int = 4) -> Manifest:
    """Make shards of any videos: key -> path."""
    n = len(paths)
    clips = pa.table(
        {
            "key": list(paths),
            "path": [str(path) for path in paths.values()],
            "label": pa.array([0] * n, pa.int32()),
            "role": ["train"] * n,
            "source": list(paths),
            "start": pa.array([None] * n, pa.float64()),
            "end": pa.array([None] * n, pa.float64()),
        }
    )
    cfg = ShardConfig(profile=profile, clips_per_shard=per_shard)
    return finish(folder, [write_shard(plan, folder, cfg) for plan in plan_shards(clips, cfg)], cfg)
