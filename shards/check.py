"""Look a data set over before a run: what is there, what is missing, which classes have labels, what leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shards.annotations.known_counts import KnownCounts
from shards.leakage import Leakage

SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """Findings about one data set, and optionally one label split of it; `ok` is False when any is a problem.

    clips: role -> clips; present: role -> number of classes that occur; absent: names of classes without any clip;
    uncovered: class name -> test clips of classes that have no labelled clip; missing: paths that are not there.
    """

    dataset: str
    version: str
    n_classes: int
    clips: Mapping[str, int]
    present: Mapping[str, int]
    absent: Sequence[str]
    uncovered: Mapping[str, int]
    known: KnownCounts | None = None
    missing: Sequence[str] | None = None
    missing_list: Path | None = None
    leakage: Leakage | None = None
    problems: Sequence[str] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Tell whether nothing has to be mended before a run."""
        return not self.problems
