"""Damage to a file of a run folder, as disks, people and other programs do it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path


def _cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(max(path.stat().st_size, 1)))


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _rot(path: Path, rng: random.Random) -> None:
    """Flip a bit and leave size and time: what a disk does, not a program."""
    stat = path.stat()
    _flip(path, rng)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _empty(path: Path, _rng: random.Random) -> None:
    os.truncate(path, 0)


def _gone(path: Path, _rng: random.Random) -> None:
    path.unlink()


def _folder(path: Path, _rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _list(path: Path, _rng: random.Random) -> None:
    path.write_text("[1, 2]\n")


def _noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))


def _zeros(path: Path, _rng: random.Random) -> None:
    """Leave the length and no byte of what was in it: what some file systems have after a loss of power."""
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "cut": _cut,
    "flip": _flip,
    "rot": _rot,
    "empty": _empty,
    "gone": _gone,
    "folder": _folder,
    "list": _list,
    "noise": _noise,
    "zeros": _zeros,
}
