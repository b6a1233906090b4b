"""The table that compares methods: results of single seeds in, one row a method and variant out. Nothing is read here.

A difference is paired: the top-1 of a method minus that of the reference on the same label draw, under the settings
that the reference was trained and tested with. What is not known stays None and is said in `remarks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from finepseudo.report.summary import Stat


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one method left on one label draw. Fractions of 1; None where the run does not tell.

    variant: what tells this row from others of the method, for readers. draw: the label draw, equal for equal data and
    labels. protocol: the settings that the reference is trained and tested with. steps: optimiser steps of f_E from
    its start on; other_steps: those of all other networks; clips: shown to f_E in these steps, labelled or not. hours:
    of training, of all networks, one a GPU or CPU; device: which. plain: its method's own keys have their defaults.
    """

    method: str
    title: str
    variant: str
    seed: int
    draw: str
    protocol: str
    top1: float | None
    mean_class: float | None
    precision: float | None = None
    coverage: float | None = None
    steps: float | None = None
    other_steps: float | None = None
    clips: float | None = None
    hours: float | None = None
    device: str = ""
    plain: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRow:
    """One method and variant over seeds. gains: (seed, difference to the reference) of the seeds where both are known.

    The reference itself has none.
    """

    method: str
    title: str
    variant: str
    seeds: tuple[int, ...]
    top1: Stat
    mean_class: Stat
    gains: tuple[tuple[int, float], ...]
    precision: Stat
    coverage: Stat
    steps: Stat
    other_steps: Stat
    clips: Stat
    hours: Stat
    device: str

    @property
    def gain(self) -> Stat:
        """The differences over seeds."""
        return Stat(tuple(value for _, value in self.gains))

    @property
    def signs(self) -> tuple[int, int, int]:
        """Count the seeds above, below and equal to the reference."""
        values = self.gain.values
        above, below = sum(value > 0 for value in values), sum(value < 0 for value in values)
        return above, below, len(values) - above - below

    @property
    def name(self) -> str:
        """Method and variant."""
        return f"{self.title} ({self.variant})" if self.variant else self.title


def compare(results: Sequence[Result], reference: str) -> list[ComparedRow]:
    """Make the rows, in the order in which methods and variants come first.

    Of several variants of the reference the one with default keys counts; the others have gains themselves.
    """
    of_reference = [result for result in results if result.method == reference]
    measure = [result for result in of_reference if result.plain] or of_reference
    base = {(r.seed, r.draw, r.protocol): r.top1 for r in measure if r.top1 is not None}
    rows: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        rows.setdefault((result.method, result.variant), []).append(result)
    return [_row(some, {} if some[0] in measure else base) for some in rows.values()]


def _row(results: Sequence[Result], base: Mapping[tuple[int, str, str], float]) -> ComparedRow:
    some = sorted(results, key=lambda result: result.seed)
    first = some[0]
    gains = tuple(
        (r.seed, r.top1 - other)
        for r in some
        if r.top1 is not None and (other := base.get((r.seed, r.draw, r.protocol))) is not None
    )
    return ComparedRow(
        method=first.method,
        title=first.title,
        variant=first.variant,
        seeds=tuple(r.seed for r in some),
        top1=Stat.of(r.top1 for r in some),
        mean_class=Stat.of(r.mean_class for r in some),
        gains=gains,
        precision=Stat.of(r.precision for r in some),
        coverage=Stat.of(r.coverage for r in some),
        steps=Stat.of(r.steps for r in some),
        other_steps=Stat.of(r.other_steps for r in some),
        clips=Stat.of(r.clips for r in some),
        hours=Stat.of(r.hours for r in some),
        device=", ".join(sorted({r.device for r in some if r.device})),
    )


def remarks(rows: Sequence[ComparedRow], reference: str) -> Iterator[str]:
    """Say in a line each why cells are blank, with the rows and on how many of their seeds it is known."""
    yield from remarks_on_gains(rows, reference)
    if some := _lacking(rows, [len(row.top1.values) for row in rows]):
        yield f"Tested so far: {some}."
    others = [row for row in rows if row.method != reference]  # which makes no labels
    if some := _lacking(others, [len(row.coverage.values) for row in others]):
        yield f"Precision and coverage, where pseudo-labels are written to a file: {some}."
    yield from remarks_on_cost(rows)
    accepted = [row for row in rows if row.coverage.values]
    if some := _lacking(accepted, [len(row.precision.values) for row in accepted]):
        yield f"Precision, where labels were accepted and the classes of the pool are known: {some}."


def remarks_on_gains(rows: Sequence[ComparedRow], reference: str) -> Iterator[str]:
    """Say where there is nothing to measure a gain by."""
    others = [row for row in rows if row.method != reference]
    if len(others) == len(rows):
        yield f"No gains: {reference} did not run."
    elif some := _lacking(others, [len(row.gains) for row in others]):
        yield f"Gains, where {reference} was tested on the same labels and settings: {some}."


def remarks_on_cost(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """Say of what steps, clips and hours are not known."""
    for why, counts in (
        ("Steps, where the log tells them", [len(row.steps.values) for row in rows]),
        ("Clips, where the log tells them", [len(row.clips.values) for row in rows]),
        ("Hours, where trainings left a record of their time", [len(row.hours.values) for row in rows]),
    ):
        if some := _lacking(rows, counts):
            yield f"{why}: {some}."


def _lacking(rows: Sequence[ComparedRow], counts: Sequence[int]) -> str:
    """Name the rows of which something is not known on every seed; counts: on how many it is."""
    found = zip(rows, counts, strict=True)
    return ", ".join(f"{row.name} on {n} of {len(row.seeds)} seeds" for row, n in found if n < len(row.seeds))
