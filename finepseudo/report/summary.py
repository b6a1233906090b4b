"""The table at the end of a run: one row a method, mean and standard deviation over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from finepseudo.methods.table import REFERENCE
from finepseudo.methods.table import title as method_title
from finepseudo.report.reading import RunFolder, read_run

TOP5_CLASSES = 10
"""Classes from which on top-5 is told: of fewer, any five names are right half of the time."""


@dataclass(frozen=True, slots=True)
class Stat:
    """Values over seeds. `std` is the sample standard deviation (n - 1), None below two values."""

    values: tuple[float, ...]

    @staticmethod
    def of(values: Iterable[object]) -> Stat:
        """Keep the finite numbers."""
        return Stat(tuple(float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)))

    @property
    def mean(self) -> float | None:
        """Mean over seeds, None without a value."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def percent(self, *, sign: bool = False) -> str:
        """Write fractions as percent: `61.3 ± 2.1`, `61.3` for one seed, a dash for none."""
        return self._write(100.0, "+.1f" if sign else ".1f", ".1f")

    def count(self) -> str:
        """Write counts: `118.5 ± 3.5`, without decimals when all are whole and equal or there is one seed."""
        form = ".0f" if len(set(self.values)) < 2 else ".1f"
        return self._write(1.0, form, form)

    def _write(self, factor: float, mean_format: str, std_format: str) -> str:
        if self.mean is None:
            return "–"
        text = format(factor * self.mean, mean_format)
        return text if self.std is None else f"{text} ± {format(factor * self.std, std_format)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundSummary:
    """Pseudo-labels of one round over seeds: how many, what share of the pool, what share is right and should be."""

    round: int
    accepted: Stat
    coverage: Stat
    precision: Stat
    precision_a: Stat
    precision_e: Stat
    expected: Stat = Stat(())


@dataclass(frozen=True, kw_only=True, slots=True)
class SummaryRow:
    """One method. `gain` is top-1 minus the supervised row's top-1 of the same seed.

    top1 is that of f_E, as in the papers; top5: none below `TOP5_CLASSES`; frame: f_A alone by its gallery; both: the
    mean of f_E and f_A; verification: average precision of telling pairs of test clips apart by f_A; chosen: (seed,
    answer, why).
    """

    method: str
    title: str
    seeds: tuple[int, ...]
    top1: Stat
    top5: Stat
    mean_class: Stat
    gain: Stat
    rounds: tuple[RoundSummary, ...]
    frame: Stat = Stat(())
    both: Stat = Stat(())
    verification: Stat = Stat(())
    chosen: tuple[tuple[int, str, str], ...] = ()


def summary_table(run_dir: Path | RunFolder) -> list[SummaryRow]:
    """Compute the rows from evaluation/metrics.json and pseudo_metrics.json of every seed."""
    run = run_dir if isinstance(run_dir, RunFolder) else read_run(Path(run_dir))
    base = {seed: s.metrics.get("top1") for seed, s in run.runs(REFERENCE) if s.metrics}
    return [_row(run, name, base) for name in run.methods()]


def _row(run: RunFolder, name: str, base: dict[int, object]) -> SummaryRow:
    measured = {seed: s.metrics for seed, s in run.runs(name) if s.metrics}
    top1 = {seed: m.get("top1") for seed, m in measured.items()}
    gains = [
        value - other
        for seed, value in top1.items()
        if name != REFERENCE and isinstance(value, float | int) and isinstance(other := base.get(seed), float | int)
    ]
    votes = {seed: s.votes for seed, s in run.runs(name) if s.votes}

    def vote(name: str) -> Stat:
        return Stat.of(v.get("test", {}).get(name, {}).get("top1") for v in votes.values())

    return SummaryRow(
        method=name,
        title=method_title(name),
        seeds=tuple(seed for seed, _ in run.runs(name)),
        top1=Stat.of(top1.values()),
        top5=Stat.of(m.get("top5") for m in measured.values() if len(run.classes) >= TOP5_CLASSES),
        mean_class=Stat.of(m.get("mean_class") for m in measured.values()),
        gain=Stat.of(gains),
        rounds=tuple(_rounds(run, name)),
        frame=vote("frame"),
        both=vote("mean"),
        verification=Stat.of(v.get("verification") for v in votes.values()),
        chosen=tuple((seed, str(v.get("chosen")), str(v.get("because"))) for seed, v in votes.items()),
    )


def _rounds(run: RunFolder, name: str) -> Iterable[RoundSummary]:
    found = [(r.round, r.metrics) for _, s in run.runs(name) for r in s.rounds if r.metrics]
    for number in sorted({n for n, _ in found}):
        metrics = [m for n, m in found if n == number]

        def stat(key: str, metrics: list[dict[str, object]] = metrics) -> Stat:
            return Stat.of(m.get(key) for m in metrics)

        yield RoundSummary(
            round=number,
            accepted=stat("accepted"),
            coverage=stat("coverage"),
            precision=stat("precision"),
            precision_a=stat("precision_A"),
            precision_e=stat("precision_E"),
            expected=stat("expected_precision"),
        )


def render_text(rows: Sequence[SummaryRow]) -> str:
    """Lay the rows out for a terminal or a log file: plain text, columns aligned, percent."""
    if not rows:
        return "no method has run yet"
    n_rounds = max((r.round for row in rows for r in row.rounds), default=-1) + 1
    aligned = any(r.chosen for r in rows)
    head = [
        "method",
        "seeds",
        "top-1 %",
        *(["f_A %", "mean vote %", "pair AP %"] if aligned else []),
        "mean-class %",
        *(f"round {r}: labels (% right)" for r in range(n_rounds)),
    ]
    body = [
        [
            *(r.title, str(len(r.seeds)), r.top1.percent()),
            *([r.frame.percent(), r.both.percent(), r.verification.percent()] if aligned else []),
            *(r.mean_class.percent(), *_cells(r, n_rounds)),
        ]
        for r in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, ["-" * w for w in widths], *body]
    ]
    note = "mean ± standard deviation over seeds" if max(len(r.seeds) for r in rows) > 1 else "one seed"
    return "\n".join([*(line.rstrip() for line in lines), f"({note})"])


def _cells(row: SummaryRow, n_rounds: int) -> list[str]:
    by_round = {r.round: r for r in row.rounds}
    return [
        f"{r.accepted.count()} ({r.precision.percent()})" if (r := by_round.get(i)) else "–" for i in range(n_rounds)
    ]
