"""What a table reads from its runs: one number of a method on one label draw, in the papers' units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finepseudo.report.summary import Stat
from finepseudo.run_folder.files import read_json
from finepseudo.run_folder.layout import METRICS, PSEUDO_METRICS, RunPaths
from shards.annotations.penn_action import PHASES
from shards.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """Where a number stands, its unit and decimals.

    file: of (run, seed, method); path: keys in it. factor: what the stored number is multiplied by.
    """

    file: Callable[[RunPaths, int, str], Path]
    path: tuple[str, ...]
    factor: float = 100.0
    form: str = ".1f"
    about: str = ""

    def read(self, run: RunPaths, seed: int, method: str) -> float | None:
        """Read it; None where it is not there."""
        file = self.file(run, seed, method)
        if not file.is_file():
            return None
        value: Any = read_json(file)
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return None if value is None else self.factor * float(value)

    def shown(self, stat: Stat) -> str:
        """Write mean and standard deviation over label draws; nothing where nothing is known."""
        if stat.mean is None:
            return ""
        text = format(stat.mean, self.form)
        return text if stat.std is None else f"{text} ± {format(stat.std, self.form)}"

    def printed(self, published: float | None) -> str:
        """Write a published number with its decimals, and no fewer than ours has."""
        if published is None:
            return ""
        return max(format(published, self.form), f"{published:g}", key=lambda text: len(text.partition(".")[2]))


def _test(run: RunPaths, seed: int, method: str) -> Path:
    return run.evaluation(seed, method) / METRICS


def _votes(run: RunPaths, seed: int, method: str) -> Path:
    return run.votes(seed, method) / METRICS


def _first_labels(run: RunPaths, seed: int, method: str) -> Path:
    return run.round(seed, method, 0) / PSEUDO_METRICS


def _phases(run: RunPaths, seed: int, method: str) -> Path:
    del seed, method  # one pre-training
    return run.root / "phases.json"


MEASURES: dict[str, Measure] = {
    "top1": Measure(file=_test, path=("top1",), about="top-1 of f_E, %"),
    "top1_frame": Measure(file=_votes, path=("test", "frame", "top1"), about="top-1 of f_A by its gallery, %"),
    "verification": Measure(file=_votes, path=("verification",), about="average precision of S on pairs, %"),
    **{
        f"pairs_{name}_{pairs}": Measure(
            file=_votes, path=("pairs", name, pairs), about=f"average precision on pairs, {pairs}, %"
        )
        for name in ("pooled", "framewise", "dtw", "score")
        for pairs in ("balanced", "natural")
    },
    **{
        f"{task}{'_' if action else ''}{action}": Measure(
            file=_phases,
            path=("actions", action, task) if action else ("mean", task),
            factor=1.0,
            form=".3f",
            about=about,
        )
        for task, about in {
            "phase": "accuracy of phase classification",
            "tau": "Kendall's tau",
            "progress": "R^2 of event progress",
        }.items()
        for action in ("", *PHASES)
    },
    "accepted": Measure(
        file=_first_labels, path=("accepted",), factor=1.0, form=",.0f", about="accepted first pseudo-labels"
    ),
    "precision": Measure(file=_first_labels, path=("precision",), about="precision of the first pseudo-labels, %"),
    "novel": Measure(
        file=_first_labels, path=("novel_acceptance",), about="clips of novel classes accepted at first, %"
    ),
}
"""Name in a table -> what it is. The first pseudo-labels are those by the networks that saw true labels alone."""


def measure(name: str) -> Measure:
    """Find a measure; UserError, with all there are, where there is none."""
    if name not in MEASURES:
        raise UserError(f"no measure is called {name}; there are {', '.join(MEASURES)}")
    return MEASURES[name]
