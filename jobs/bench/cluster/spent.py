"""Clocks that see all processes of a local Ray: on a busy machine the wall clock says little of what a job takes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment of a job: units done, wall clock, processor seconds of this process and of everything below it."""

    done: int
    wall: float
    processor: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds for one unit of work: by the wall clock, and of processors."""

    wall: float
    processor: float


def stamp(done: int, *, alone: bool = False) -> Stamp:
    """Take the time; `alone`: of this process, below which another Ray may be ending."""
    return Stamp(done, time.perf_counter(), time.process_time() if alone else tree_seconds(os.getpid()))


def tree_seconds(root: int) -> float:
    """Add up the processor seconds of a process, of all living ones below it and of those that they have waited for."""
    rows = dict(_processes())
    below, found = {root}, 0
    for _ in rows:  # a child may stand before its parent
        more = {pid for pid, (parent, _) in rows.items() if parent in below} - below
        if not more:
            break
        below |= more
    for pid in below & rows.keys():
        found += rows[pid][1]
    return found / _TICKS


def _processes() -> list[tuple[int, tuple[int, int]]]:
    """List what runs: process id, parent, ticks of itself and of its finished children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            found.append((int(entry.name), (int(fields[1]), sum(map(int, fields[11:15])))))
    return found


def steady(stamps: Sequence[Stamp], skip: int) -> Pace:
    """Give the pace from stamp `skip` to the last one: what comes before is the start."""
    first, last = stamps[min(skip, len(stamps) - 2)], stamps[-1]
    units = last.done - first.done
    return Pace((last.wall - first.wall) / units, (last.processor - first.processor) / units)


def middle(paces: Sequence[Pace]) -> Pace:
    """Give the medians."""
    return Pace(statistics.median(p.wall for p in paces), statistics.median(p.processor for p in paces))
