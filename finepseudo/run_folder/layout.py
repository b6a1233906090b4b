"""Where the files of one run are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where the files of one run are (README: "What you get")."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def clips(self) -> Path:
        """Every clip of the data set that can be used."""
        return self.root / "data" / "clips.parquet"

    @property
    def data(self) -> Path:
        """Clip table, quarantine and shards."""
        return self.root / "data"

    @property
    def quarantine(self) -> Path:
        """Clips that cannot be used, with the reason."""
        return self.root / "data" / "quarantine.parquet"

    @property
    def shards(self) -> Path:
        """Tar shards, index, manifest."""
        return self.root / "data" / "shards"

    @property
    def metrics(self) -> Path:
        """Every curve, one JSON object a line."""
        return self.root / "metrics.jsonl"

    def seed(self, seed: int) -> Path:
        """Everything that depends on one label draw."""
        return self.root / f"seed-{seed}"

    def split(self, seed: int) -> Path:
        """Who is labelled."""
        return self.seed(seed) / "split.parquet"

    def round(self, seed: int, strategy: str | None, number: int) -> Path:
        """One round; round 0 of the encoders (strategy None) is shared by all strategies of a seed."""
        base = self.seed(seed) if strategy is None else self.seed(seed) / strategy
        return base / f"round-{number:02d}"

    def evaluation(self, seed: int, strategy: str) -> Path:
        """Test results of one strategy."""
        return self.seed(seed) / strategy / "evaluation"
