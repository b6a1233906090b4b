"""Who decoded how many clips and how fast, and so how a batch is shared out where DALI and PyAV decode at once."""

from __future__ import annotations

import statistics
import threading
from collections import Counter, deque

DALI, PYAV = "dali", "pyav"

RECENT = 8
"""Batches of each decoder that count, by their median: the first run of a graph is slow and says nothing."""


class Shares:
    """Shares the clips of batches out so that both decoders end at the same time. Several threads may use it."""

    def __init__(self) -> None:
        """Begin with nothing measured: both get the half."""
        self.clips: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = {name: deque(maxlen=RECENT) for name in (DALI, PYAV)}
        self._due = 0.0
        self._lock = threading.Lock()

    def count(self, decoder: str) -> None:
        """Count a clip that a decoder has read."""
        with self._lock:
            self.clips[decoder] += 1

    def took(self, decoder: str, clips: int, seconds: float) -> None:
        """Note the seconds after which a decoder had the clips of a batch, or its part of them."""
        with self._lock:
            self._recent[decoder].append(seconds / clips)

    @property
    def fraction(self) -> float:
        """Give DALI's share of the clips, after which both work as long: p / (d + p), with d and p s a clip."""
        with self._lock:
            return self._fraction()

    def next(self, clips: int) -> int:
        """Say how many of the next `clips` DALI gets; what is over of its share counts in the batch after."""
        with self._lock:
            self._due += self._fraction() * clips
            whole = min(clips, int(self._due))
            self._due -= whole
            return whole

    def _fraction(self) -> float:
        dali, pyav = self._recent[DALI], self._recent[PYAV]
        if not dali or not pyav:
            return 0.5
        d, p = statistics.median(dali), statistics.median(pyav)
        return p / (d + p) if d + p > 0 else 0.5
