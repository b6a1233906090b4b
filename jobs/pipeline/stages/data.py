"""Annotations, shards, quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.pipeline.stages.base import Keys, Stage, numbered
from shards.annotations import annotation_files, load


@dataclass(frozen=True, kw_only=True)
class DataStage(Stage):
    """Read the annotations, decode every clip once, write the shards."""

    kind = "data"
    resources = "shards"

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.paths.data

    @property
    def keys(self) -> Keys:
        """Which clips, and how they are stored."""
        return Keys(("data", "shards"))

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The annotation files."""
        return numbered(annotation_files(self.cfg.data))

    @property
    def outputs(self) -> Sequence[str]:
        """Clip table, quarantine and the manifest, which names every shard with its hash."""
        return ("clips.parquet", "quarantine.parquet", "shards/manifest.json", "shards/manifest.parquet")

    @property
    def scratch(self) -> Sequence[str]:
        """The shards themselves."""
        return ("shards",)

    def run(self) -> None:
        """Write what is missing."""
        from jobs.workers.write_shards import write_data

        write_data(self.cfg, self.paths, self.run_of.reporter)

    def explain(self) -> None:
        """Let who reads the files say what is wrong with them (a list of another version in place of the right one)."""
        from jobs.workers.write_shards import data_config

        load(data_config(self.cfg, self.paths))
