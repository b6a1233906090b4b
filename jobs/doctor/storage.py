"""The folder of the runs: speed, locks, how long another node does not see a new file, room."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.doctor.checks import Finding
from jobs.doctor.other_node import Watch
from jobs.pipeline.run_folder import NO_LOCKS, opened_lock

MEGABYTES = 64
SLOW_MB_S = 50
"""Below it GPUs wait for shards: two training workers read some 50 MB a second of clips of 300 kB."""
LATE_S = 30
"""A quarter of the two minutes' notice that the batch scripts ask Slurm for."""


def nearest(folder: Path) -> Path:
    """Give the folder, or the first above it that exists: nothing is made for a check that leaves nothing."""
    folder = folder.absolute()
    return folder if folder.is_dir() else nearest(folder.parent)


@contextmanager
def _trial(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".finepseudo-doctor-", dir=nearest(folder)) as inside:
        yield Path(inside)


def speed(folder: Path) -> Finding:
    """Write a file, to the disk, and read it again past the cache of this machine where the system allows it."""
    block = os.urandom(1 << 20)
    with _trial(folder) as inside:
        path = inside / "block"
        started = time.perf_counter()
        with path.open("wb") as stream:
            for _ in range(MEGABYTES):
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
        written = MEGABYTES / (time.perf_counter() - started)
        with path.open("rb", buffering=0) as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            started = time.perf_counter()
            while stream.read(1 << 20):
                pass
            read = MEGABYTES / (time.perf_counter() - started)
    return judge_speed(nearest(folder), written, read)


def judge_speed(folder: Path, written: float, read: float) -> Finding:
    """Compare MB/s with what training workers read."""
    found = f"{folder}: {written:,.0f} MB/s written, {read:,.0f} MB/s read"
    if min(written, read) < SLOW_MB_S:
        return Finding("warn", found, "put out= on a faster file system, or expect workers to wait for clips")
    return Finding("ok", found)


def locks(folder: Path) -> Finding:
    """Take a lock twice: the second one must be refused."""
    with _trial(folder) as inside:
        (inside / "run").mkdir()
        with opened_lock(inside / "run") as one, opened_lock(inside / "run") as other:
            held = one.take() and other.take()
    if not held:
        return Finding("ok", "a second command in a run folder is refused")
    names = ", ".join(os.strerror(number) for number in NO_LOCKS)
    return Finding(
        "warn",
        f"{nearest(folder)} has no locks ({names}): two commands may work in a run at the same time",
        "mount it with flock (Lustre: -o flock), or never start a run twice",
    )


def negative_cache(folder: Path) -> Finding:
    """Count the seconds until another node sees a file that it has looked for in vain before."""
    with _trial(folder) as inside:
        watch = Watch.start(inside / "new")
        if isinstance(watch, str):
            return Finding("skip", watch)
        with watch:
            (inside / "new").touch()
            return judge_delay(watch.node, watch.seconds())


def judge_delay(node: str, seconds: float | None) -> Finding:
    """Compare a delay with the notice before a job is ended."""
    if seconds is None:
        return Finding(
            "fail", f"{node} does not see a new file within 2 minutes", "put out= on a file system that all nodes share"
        )
    found = f"{node} sees a new file after {seconds:.1f} s"
    if seconds > LATE_S:
        return Finding("warn", found, "mount with lookupcache=positive or a short acdirmax")
    return Finding("ok", found)


def room(folder: Path, needed: int | None) -> Finding:
    """Compare the free bytes with what the recipe will write."""
    free = shutil.disk_usage(nearest(folder)).free
    found = f"{free / 1e9:,.0f} GB free at {nearest(folder)}"
    if needed is None:
        return Finding("ok", f"{found}; name a recipe to compare with what it writes")
    found += f", {needed / 1e9:,.1f} GB to be written"
    if free < needed:
        return Finding("fail", found, "make room, or put out= elsewhere")
    return Finding("warn", found, "less than twice of what is needed") if free < 2 * needed else Finding("ok", found)
