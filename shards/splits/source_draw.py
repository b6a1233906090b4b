"""Labelled draws that never split a source video: all its clips are labelled, or none is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence


def choose_by_source(
    pool: Sequence[tuple[str, int, str]],
    quota: Mapping[int, int],
    least: Mapping[int, int],
    rank: Callable[[Iterable[str]], list[str]],
) -> set[str]:
    """Pick whole source videos among (key, label, source) so that every class comes near its quota.

    Sources are taken in the order of `rank` when they bring the sum of |quota - taken| over all classes down; after
    that a class with fewer than `least` clips takes the source that overshoots the quotas least. Draws of different
    ratios are not nested. A clip without a source is its own.
    """
    clips: dict[str, Counter[int]] = {}
    for key, label, source in pool:
        clips.setdefault(source or key, Counter())[label] += 1
    order = rank(clips)
    have: Counter[int] = Counter()
    taken: set[str] = set()

    def cost(source: str) -> int:
        return sum(abs(quota[c] - have[c] - n) - abs(quota[c] - have[c]) for c, n in clips[source].items())

    def take(source: str) -> None:
        taken.add(source)
        have.update(clips[source])

    for source in order:
        if cost(source) < 0:
            take(source)
    for label in sorted(least):
        while have[label] < least[label]:
            left = [source for source in order if source not in taken and clips[source][label]]
            take(min(left, key=cost))
    return {key for key, _, source in pool if (source or key) in taken}
