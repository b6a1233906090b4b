"""Numbers that papers print, with their sources: `finepseudo/published/top1.csv`. None of them is of our protocol."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NUMBERS = Path(__file__).parents[1] / "published" / "top1.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Top-1 in percent of one method on a data set with a share of its labels, in percent; where it stands."""

    dataset: str
    labels_percent: float
    method: str
    top1: float
    backbone: str
    source: str

    @property
    def text(self) -> str:
        """The number and the backbone."""
        return f"{self.top1:.1f} ({self.backbone})"


def read_published(path: Path = NUMBERS) -> list[Published]:
    """Read all numbers."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            Published(
                dataset=row["dataset"],
                labels_percent=float(row["labels_percent"]),
                method=row["method"],
                top1=float(row["top1"]),
                backbone=row["backbone"],
                source=row["source"],
            )
            for row in csv.DictReader(stream)
        ]


def beside(numbers: Sequence[Published], datasets: Sequence[str], ratio: float | None) -> list[Published]:
    """Choose the numbers of these data sets; of this share of labels (a fraction) alone where it was published."""
    there = [number for number in numbers if number.dataset in datasets]
    same = [number for number in there if ratio is not None and abs(number.labels_percent - 100 * ratio) < 1e-6]
    return same or there
