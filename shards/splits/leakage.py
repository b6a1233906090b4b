"""Which source videos stand on two sides of a split: such clips are easier than a new video would be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedSources:
    """Two roles, the source videos that both have clips of, and how many clips of each role come from those."""

    roles: tuple[str, str]
    sources: tuple[str, ...]
    clips: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOverlap:
    """Every pair of roles that shares source videos; false when there is none."""

    pairs: tuple[SharedSources, ...]

    def __bool__(self) -> bool:
        """Tell whether any source video is shared."""
        return bool(self.pairs)

    def lines(self) -> list[str]:
        """Say it in one line a pair."""
        return [
            f"{one} and {other} share {len(pair.sources)} source videos ({pair.clips[0]} and {pair.clips[1]} clips)"
            for pair in self.pairs
            for one, other in [pair.roles]
        ]


def source_overlap(rows: Iterable[tuple[str, str]]) -> SourceOverlap:
    """Find shared sources among (role, source video) of every clip; clips without a source are left out."""
    clips: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for role, source in rows:
        if source:
            clips[role][source] += 1
    pairs = []
    for one, other in combinations(sorted(clips), 2):
        shared = tuple(sorted(clips[one].keys() & clips[other].keys()))
        if shared:
            counts = (sum(clips[one][source] for source in shared), sum(clips[other][source] for source in shared))
            pairs.append(SharedSources(roles=(one, other), sources=shared, clips=counts))
    return SourceOverlap(pairs=tuple(pairs))
