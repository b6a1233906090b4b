"""Contenders in turn within each round, since absolute times of a shared machine mean little."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """A ratio over rounds: its median, smallest and largest."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: list[float]) -> Ratio:
        """Summarise the rounds."""
        return Ratio(median=statistics.median(values), low=min(values), high=max(values))


def race(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Warm everything up, then run all contenders in turn: seconds of processor time of each in each round.

    Processor time, children's included: waiting for a busy machine does not count.
    """
    for call in contenders.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = processor_seconds()
            call()
            seconds[name].append(processor_seconds() - start)
    return seconds


def speed(seconds: Mapping[str, list[float]], ours: str, peer: str) -> Ratio:
    """Say how many times faster than the peer we are, round by round."""
    return Ratio.of([p / s for p, s in zip(seconds[peer], seconds[ours], strict=True)])


def processor_seconds() -> float:
    """Add up what this process and its finished children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)
