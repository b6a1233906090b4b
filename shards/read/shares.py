"""Who decoded how many clips and how fast, and so how a batch is shared out where DALI and PyAV decode at once.

Both are to be busy all the time: where DALI takes d seconds a clip and PyAV, on all its threads, p, DALI's part of the
clips is p / (d + p). A batch waits for the slower of the two and a run of DALI's has a cost of its own, so parts are
rounded down: below one clip of a batch DALI gets none.
"""

from __future__ import annotations

import statistics
import threading
from collections import Counter, deque

DALI, PYAV = "dali", "pyav"

RECENT = {DALI: 8, PYAV: 64}
"""Runs of DALI and clips of PyAV that count, by their median."""
WARM = 2
"""Runs of DALI that say nothing: a graph is new in the first one of each thread that makes batches."""
FIRST = 0.25
"""DALI's part before it is measured."""


class Shares:
    """Shares the clips of batches out. Several threads may use it."""

    def __init__(self) -> None:
        """Begin with nothing measured."""
        self.clips: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = {name: deque(maxlen=most) for name, most in RECENT.items()}
        self._runs = 0
        self._lock = threading.Lock()

    def count(self, decoder: str) -> None:
        """Count a clip that a decoder has read."""
        with self._lock:
            self.clips[decoder] += 1

    def dali_took(self, clips: int, seconds: float) -> None:
        """Note a run of DALI's, which had the device's decoder for itself."""
        with self._lock:
            self._runs += 1
            if self._runs > WARM:
                self._recent[DALI].append(seconds / clips)

    def pyav_took(self, seconds: float, threads: int) -> None:
        """Note a clip that one of PyAV's threads has read."""
        with self._lock:
            self._recent[PYAV].append(seconds / threads)

    @property
    def fraction(self) -> float:
        """Give DALI's part of the clips with which both are busy all the time; FIRST where that is not known yet."""
        with self._lock:
            dali, pyav = self._recent[DALI], self._recent[PYAV]
            if not dali or not pyav:
                return FIRST
            d, p = statistics.median(dali), statistics.median(pyav)
        return p / (d + p) if d + p > 0 else FIRST

    def of(self, clips: int) -> int:
        """Say how many clips of a batch DALI gets."""
        whole = int(self.fraction * clips)
        return whole if self._recent[DALI] else max(1, whole)
