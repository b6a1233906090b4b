"""What every stage is made of: its folder, its inputs, its name, its lines in the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finepseudo.run_folder.done import DONE, Stage
from finepseudo.run_folder.layout import RunPaths
from jobs.config.run import RunConfig
from jobs.config.sections import ALIGNING, StrategyName
from jobs.progress import Reporter
from jobs.workers.labelling import pseudo_items, read_truth
from shards.splits.label_split import LabelSplit, read_split
from shards.types import ItemTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One stage with its action. `tags` mark its lines in the log; tasks of one group may run side by side.

    explain: raises what is wrong when inputs are missing, where somebody knows it better than their names do.
    """

    stage: Stage
    name: str
    tags: Mapping[str, Any]
    action: Callable[[], None]
    explain: Callable[[], None] = lambda: None


class StageMaker:
    """What the makers of stages share. Nothing is read or written until a task's action runs."""

    def __init__(self, cfg: RunConfig, reporter: Reporter) -> None:
        """Make tasks for the run that `cfg` describes."""
        self.cfg, self.paths, self.reporter = cfg, RunPaths(cfg.folder), reporter
        self.aligning = any(strategy in ALIGNING for strategy in cfg.strategies)

    def frame_folder(self, seed: int, strategy: StrategyName | None, number: int) -> Path:
        """Where f_A of a round is; round 0 is shared by all strategies."""
        return self.paths.round(seed, strategy if number else None, number) / "frame_encoder"

    def action_folder(self, seed: int, strategy: StrategyName | None, number: int) -> Path:
        """Where f_E of a round is; round 0 is shared by all strategies."""
        return self.paths.round(seed, strategy if number else None, number) / "action_encoder"

    def split_of(self, seed: int) -> LabelSplit:
        """Read the split of a seed."""
        return read_split(self.paths.split(seed))

    def n_classes(self) -> int:
        """Count the outputs of f_E: the classes of the data set, in an open world the known ones."""
        return len(read_truth(self.paths.clips)[1])

    def _items(self, seed: int, strategy: StrategyName | None, number: int) -> ItemTable:
        labelled = self.split_of(seed).items("labelled")
        if number == 0 or strategy is None or strategy == "supervised":
            return labelled
        return pseudo_items(labelled, self.paths.round(seed, strategy, number - 1) / "pseudo_labels.parquet")

    def _drawn(self, seed: int) -> dict[str, Path]:
        return {"data": self.paths.data / DONE, "split": self.paths.seed(seed) / DONE}

    def _labels_before(self, seed: int, strategy: StrategyName | None, number: int) -> dict[str, Path]:
        if number == 0 or strategy is None or strategy == "supervised":
            return {}
        return {"pseudo_labels": self.paths.round(seed, strategy, number - 1) / DONE}

    def _name(self, folder: Path) -> str:
        return folder.relative_to(self.paths.root).as_posix()

    def _task(self, stage: Stage, tags: Mapping[str, Any], action: Callable[[], None]) -> Task:
        name = self._name(stage.folder) if stage.folder != self.paths.root else "report"
        return Task(stage=stage, name="split of " + name if stage.kind == "split" else name, tags=tags, action=action)

    def _scalars(self, tags: Mapping[str, Any], values: Mapping[str, float]) -> None:
        head = {"time": time.time(), **tags, "step": tags["round"] or 0, "epoch": tags["round"] or 0}
        self.reporter.scalars({**head, **values})
