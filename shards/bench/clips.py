"""Clips to measure with: drawn moving images as loose files, and shards written of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.files import write_bytes
from shards.storage.manifest import Manifest
from shards.synthetic.video import encode
from shards.write.config import ShardConfig
from shards.write.plans import plan_shards
from shards.write.writer import finish, write_shard

Images = npt.NDArray[np.uint8]
FPS = 25
SOURCE = (384, 510)
"""Height and width of a source; shards hold it at 256 x 336, about the size Kinetics-400 is usually kept at."""
_MARGIN = 64  # pixels that the camera may move over
_PATCHES = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchClips:
    """The clips in all their forms: sources, shards of them, and the shards' own clips as loose files (by key)."""

    sources: pa.Table | None
    manifest: Manifest
    loose: dict[str, Path]

    @property
    def keys(self) -> list[str]:
        """List the clips that are measured."""
        return list(self.loose)


def make_clips(
    folder: Path,
    count: int,
    lengths: tuple[int, int] = (80, 100),
    workers: int = 1,
    *,
    size: tuple[int, int] = SOURCE,
    cfg: ShardConfig | None = None,
) -> BenchClips:
    """Draw `count` clips of `lengths` frames, write them as H.264 files and as shards, of four clips if not as `cfg`.

    The same clips whatever the number of worker processes. size: height and width of the files.
    """
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    cfg = cfg or ShardConfig(clips_per_shard=4)
    with _mapping(workers) as each:
        paths = list(each(partial(_draw_clip, folder / "sources", lengths, size), range(count)))
        sources = pa.Table.from_pylist(
            [{"key": path.stem, "path": str(path), "start": None, "end": None} for path in paths]
        )
        written = list(each(partial(write_shard, folder=folder / "shards", cfg=cfg), plan_shards(sources, cfg)))
    manifest = finish(folder / "shards", written, cfg)
    return BenchClips(sources=sources, manifest=manifest, loose=_unpack(manifest, manifest.keys, folder / "loose"))


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Give a `map`: this process's own, or that of a pool of processes."""
    if workers < 2:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def _draw_clip(folder: Path, lengths: tuple[int, int], size: tuple[int, int], index: int) -> Path:
    """Draw clip `index` with a generator of its own and write it."""
    rng = np.random.default_rng((0, index))
    frames = moving_images(int(rng.integers(lengths[0], lengths[1] + 1)), *size, rng)
    path = folder / f"clip{index:03d}.mp4"
    write_bytes(path, encode(frames, FPS))
    return path


def given_clips(shards: Path, folder: Path, count: int) -> BenchClips:
    """Take `count` clips, evenly spread, of shards that are there; loose files of them go into the folder."""
    manifest = Manifest.open(shards)
    places = np.unique(np.linspace(0, len(manifest) - 1, count).round().astype(int))
    keys = [manifest.keys[place] for place in places]
    return BenchClips(sources=None, manifest=manifest, loose=_unpack(manifest, keys, folder / "loose"))


def _unpack(manifest: Manifest, keys: Sequence[str], folder: Path) -> dict[str, Path]:
    """Write clips of the shards as files, byte for byte."""
    files = {key: folder / f"{key}.mp4" for key in keys}
    for key, path in files.items():
        write_bytes(path, manifest.read(key))
    return files


def moving_images(n: int, height: int, width: int, rng: np.random.Generator) -> Images:
    """Draw uint8 [n, height, width, 3]: a textured scene that the camera moves over, patches that cross it, noise.

    Coded, they take as many bytes a frame as filmed sport of that size.
    """
    scene = 128 + 28 * _texture(height + _MARGIN, width + _MARGIN, (64, 16, 4), rng)
    sizes = rng.integers(height // 8, height // 3, (_PATCHES, 2))
    patches = [128 + 40 * _texture(h, w, (32, 8), rng) + rng.normal(0, 40, 3) for h, w in sizes]
    pace, phase = rng.uniform(0.5, 2.5, (_PATCHES, 2)), rng.uniform(0, 6, (_PATCHES, 2))
    noise = rng.normal(0, 2, (height, width, 3)).astype(np.float32)
    out = np.empty((n, height, width, 3), np.uint8)
    for index in range(n):
        seconds = index / FPS
        top, left = (_MARGIN / 2 * (1 + np.sin(0.7 * seconds + phase[0]))).astype(int)
        image = scene[top : top + height, left : left + width].copy()
        for patch, speed, start in zip(patches, pace, phase, strict=True):
            room = np.array([height, width]) - patch.shape[:2]
            y, x = (room * (0.5 + 0.5 * np.sin(speed * seconds + start))).astype(int)
            image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        image += np.roll(noise, int(rng.integers(noise.size)))
        out[index] = np.clip(image, 0, 255)
    return out


def _texture(height: int, width: int, cells: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Add up noise [height, width, 3] that is smooth over cells of these sizes, the finer the weaker."""
    total = np.zeros((height, width, 3), np.float32)
    for cell in cells:
        grid = rng.normal(size=(height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        (y, dy), (x, dx) = _places(height, cell), _places(width, cell)
        dy, dx = dy[:, None, None], dx[None, :, None]
        upper = grid[y][:, x] * (1 - dx) + grid[y][:, x + 1] * dx
        lower = grid[y + 1][:, x] * (1 - dx) + grid[y + 1][:, x + 1] * dx
        total += (upper * (1 - dy) + lower * dy) * np.float32((cell / cells[0]) ** 0.5)
    return total


def _places(length: int, cell: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Split pixel positions into grid cell and place inside the cell."""
    place = np.arange(length) / cell
    whole = place.astype(np.int64)
    return whole, (place - whole).astype(np.float32)
