"""How far a plan has come, and about how long the rest of it takes: from what such stages took in this run folder."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from itertools import chain

from finepseudo.run_folder.files import read_json
from jobs.pipeline.plan import Plan
from jobs.pipeline.stages.base import Stage
from shards.errors import UserError

Kind = tuple[str, bool]
"""Kind of a stage, and whether it belongs to a round after the first: those trainings have other lengths."""


class TimeLeft:
    """Counts the stages of a plan and knows what each kind took."""

    def __init__(self, plan: Plan, kinds: Collection[str] | None = None) -> None:
        """Read the records that are there. kinds: the stages that will run (None: all)."""
        self._stages = [stage for stage in chain.from_iterable(plan) if kinds is None or stage.kind in kinds]
        self._took: dict[Kind, list[float]] = {}
        for stage in self._stages:
            if (seconds := _recorded(stage)) is not None:
                self.note(stage, seconds)

    def note(self, stage: Stage, seconds: float) -> None:
        """Remember what a stage took."""
        self._took.setdefault(_kind(stage), []).append(seconds)

    def line(self, stage: Stage) -> str:
        """Say where a stage that begins stands in the plan: `stage 7 of 29, about 40 min left`."""
        place = self._stages.index(stage)
        to_come = (later for later in self._stages[place + 1 :] if not later.identity.record.exists())
        left = [stage, *(later for later in to_come if later.kind != "report")]  # which is made in seconds
        guessed = [self._guess(later) for later in left]
        known = [seconds for seconds in guessed if seconds is not None]
        text = f"stage {place + 1} of {len(self._stages)}"
        if not known:
            return text
        return f"{text}, {'about' if len(known) == len(guessed) else 'at least'} {rough(sum(known))} left"

    def _guess(self, stage: Stage) -> float | None:
        """Take the middle of what such stages took."""
        kind, later = _kind(stage)
        took = self._took.get((kind, later)) or self._took.get((kind, not later))
        return statistics.median(took) if took else None


def _kind(stage: Stage) -> Kind:
    return stage.kind, bool(stage.tags.get("round"))


def _recorded(stage: Stage) -> float | None:
    try:
        return float(read_json(stage.identity.record)["wall_s"])
    except (UserError, KeyError, TypeError, ValueError):
        return None


def rough(seconds: float) -> str:
    """Write a guess as coarsely as it is known.

    >>> [rough(s) for s in (20, 100, 2400, 9000, 200000)]
    ['a minute', '2 min', '40 min', '2.5 h', '56 h']
    """
    minutes = seconds / 60
    if minutes < 90:
        return "a minute" if minutes < 1.5 else f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 600 else f"{minutes / 60:.0f} h"
