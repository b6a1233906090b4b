"""Contenders that run in turn, ratios within the same round, and Markdown tables of them.

Absolute times of a shared machine mean little; a ratio of two calls that followed each other means something, and the
spread over rounds says how much.
"""

from __future__ import annotations

import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A promised figure: what must hold and what is aimed at."""

    must: float
    aim: float

    def verdict(self, value: float) -> str:
        """Say which of the two a value reaches."""
        return "aim" if value >= self.aim else "must" if value >= self.must else "MISSED"


def processor_seconds() -> float:
    """Add up what this process and its finished children have used: waiting for a busy machine does not count."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


@dataclass(kw_only=True, slots=True)
class Contender:
    """One implementation on one workload: a call, what it does (pairs, clips), seconds for one of those each round."""

    call: Callable[[], Any]
    items: int
    clock: Callable[[], float] = processor_seconds
    seconds: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Time one call."""
        start = self.clock()
        self.call()
        self.seconds.append((self.clock() - start) / self.items)

    def ratios(self, peer: Contender) -> list[float]:
        """Return how many times faster than the peer, for each round."""
        return [p / s for p, s in zip(peer.seconds, self.seconds, strict=True)]


def race(contenders: dict[str, Contender], rounds: int) -> None:
    """Warm everything up, then run all contenders in turn, `rounds` times."""
    for contender in contenders.values():
        contender.call()
    for _ in range(rounds):
        for contender in contenders.values():
            contender.run()


def figure(values: Sequence[float], form: str = ".1f", target: Target | None = None) -> str:
    """Write median, quartiles and, with a target, its verdict."""
    middle = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else (middle,) * 3
    words = f"{middle:{form}} ({low:{form}}-{high:{form}})"
    return f"{words} {target.verdict(middle)}" if target else words


def say(line: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table_row(name: str, cells: Sequence[str]) -> None:
    """Print a row of a Markdown table."""
    say(f"| {name} | " + " | ".join(cells) + " |")


def table_head(name: str, columns: Sequence[str]) -> None:
    """Print the head of a Markdown table."""
    table_row(name, columns)
    say("|---" * (len(columns) + 1) + "|")
