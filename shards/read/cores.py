"""The processor cores that this process may use: its affinity, and the quota of its control group."""

from __future__ import annotations

import math
import os
from pathlib import Path

from shards.read.config import Threads

_V2 = Path("/sys/fs/cgroup/cpu.max")
_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cores() -> int:
    """Count the cores, at least 1: a Slurm job or a container has fewer than its machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, _quota())))


def _quota() -> float:
    """Read how many cores' time the control group gets; infinity where nothing limits it."""
    try:
        quota, period = _V2.read_text().split() if _V2.exists() else (path.read_text().strip() for path in _V1)
    except (OSError, ValueError):  # no control group, or one of another kind: no limit is known
        return math.inf
    return int(quota) / int(period) if quota not in ("max", "-1") else math.inf


def reading_threads(asked: Threads, sharers: int) -> int:
    """Settle the threads of a reader: those asked for, or its share of the cores less one for what it reads for.

    sharers: readers on this machine that work at the same time.
    """
    return max(1, available_cores() // max(1, sharers) - 1) if asked == "auto" else asked
