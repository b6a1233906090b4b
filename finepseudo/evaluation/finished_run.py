"""A finished run in Python: its config and classes as plain values, its labels and predictions as arrow tables.

Nothing is written; no network is loaded and no shard opened but by `predict`. docs/files.md describes every column.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finepseudo.methods.table import in_order
from finepseudo.run_folder.files import json_lines, read_json
from finepseudo.run_folder.layout import METRICS, PREDICTIONS, PSEUDO_LABELS, PSEUDO_METRICS, RunPaths
from finepseudo.run_folder.yaml_text import NoYaml, read_yaml
from shards.errors import UserError

PARTS = "part-*.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRun:
    """A run folder. Tables and metrics are read when they are asked for; UserError names the file that is missing.

    config: the resolved configuration as nested mappings; classes: names by label, in an open world the known ones;
    dataset: its name.
    """

    folder: Path
    config: Mapping[str, Any]
    classes: tuple[str, ...]
    dataset: str

    @property
    def paths(self) -> RunPaths:
        """Where the files are."""
        return RunPaths(self.folder)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the label draws."""
        return tuple(seed for seed, _ in self.paths.seeds())

    def methods(self, seed: int) -> tuple[str, ...]:
        """Names of the methods that ran on one label draw, in the order of the report's table."""
        if seed not in self.seeds:
            raise UserError(f"{self.folder}: no seed {seed}; it has {', '.join(map(str, self.seeds)) or 'none'}")
        return tuple(in_order(self.paths.methods(seed)))

    def clips(self) -> pa.Table:
        """Every clip: key, path, true label, role, source, start and end."""
        return _table(self.paths.clips)

    def quarantine(self) -> pa.Table:
        """Clips that cannot be used, with the reason."""
        return _table(self.paths.quarantine)

    def split(self, seed: int) -> pa.Table:
        """Who is labelled, unlabelled and test in one label draw; the label of unlabelled clips is -1."""
        return _table(self.paths.split(seed))

    def labelled_rounds(self, seed: int, method: str) -> tuple[int, ...]:
        """Rounds after which a method labelled the pool."""
        return tuple(n for n, folder in self.paths.rounds(seed, method) if (folder / PSEUDO_LABELS).is_file())

    def pseudo_labels(self, seed: int, method: str, number: int | None = None) -> pa.Table:
        """Pseudo-labels of a round (None: the last one) with every number behind them."""
        return _table(self.paths.round(seed, method, self._labelled(seed, method, number)) / PSEUDO_LABELS)

    def pseudo_metrics(self, seed: int, method: str, number: int | None = None) -> dict[str, Any]:
        """Precision and coverage of the pseudo-labels of a round (None: the last one) against the true labels."""
        return _json(self.paths.round(seed, method, self._labelled(seed, method, number)) / PSEUDO_METRICS)

    def embeddings(self, seed: int, method: str, number: int | None = None) -> pa.Table:
        """Embeddings by f_A and class probabilities by f_E of labelled and unlabelled clips (None: the last round)."""
        there = [n for n, folder in self._rounds(seed, method) if any(folder.glob(PARTS))]
        if not there or number not in (None, *there):
            raise UserError(f"{self.paths.method(seed, method)}: no embeddings; this method made none, or not yet")
        folder = self.paths.embeddings(seed, method, there[-1] if number is None else number)
        return pa.concat_tables([_table(path) for path in sorted(folder.glob(PARTS))])

    def predict(
        self,
        paths: Sequence[str | Path],
        top: int = 5,
        matches: int = 3,
        seed: int | str | None = None,
        method: str | None = None,
    ) -> pa.Table:
        """Predict videos with the trained encoders, as `finepseudo predict` does: one row each, in the order given.

        paths: files, folders of them, lists, URLs, folders of frames. seed: a label draw, or "all" for their mean
        (None: the first); method: whose encoders (None: those that the report shows in detail). A video that cannot be
        read has its reason in its row.
        """
        # reading videos is the business of the floor above, which no module here may import
        videos = import_module("jobs.pipeline.predict.videos")
        asked = videos.Asked(top=top, matches=matches, seed=seed, method=method)
        table: pa.Table = videos.predict_paths(self.folder, paths, asked)
        return table

    def predictions(self, seed: int, method: str) -> pa.Table:
        """Test clips with true label, prediction and class probabilities."""
        return _table(self.paths.evaluation(seed, method) / PREDICTIONS)

    def metrics(self, seed: int, method: str) -> dict[str, Any]:
        """Test metrics of one method: top1, top5, mean_class, per_class, confusion."""
        return _json(self.paths.evaluation(seed, method) / METRICS)

    def votes(self, seed: int, method: str) -> dict[str, Any]:
        """Metrics of f_E, of f_A alone and of their mean, and which answer was chosen; of methods that align."""
        return _json(self.paths.votes(seed, method) / METRICS)

    def curves(self) -> list[dict[str, Any]]:
        """Every line of metrics.jsonl: tags, step, and numbers such as train/loss; lines that are cut are left out."""
        path = self.paths.metrics
        return json_lines(path.read_bytes())[0] if path.is_file() else []

    def _rounds(self, seed: int, method: str) -> list[tuple[int, Path]]:
        """List the rounds of a method, shared round 0 included, with the folder of their embeddings."""
        numbers = sorted({0, *(n for n, _ in self.paths.rounds(seed, method))})
        return [(n, self.paths.embeddings(seed, method, n)) for n in numbers]

    def _labelled(self, seed: int, method: str, number: int | None) -> int:
        rounds = self.labelled_rounds(seed, method)
        if not rounds:
            raise UserError(f"{self.paths.method(seed, method)}: no pseudo-labels; this method made none, or not yet")
        return rounds[-1] if number is None else number


def load_run(folder: str | Path) -> FinishedRun:
    """Open a run folder. UserError when it is none, or when its data stage has not run."""
    paths = RunPaths(Path(folder))
    try:
        config = read_yaml(paths.config)
    except NoYaml as error:
        raise UserError(f"{paths.config}: cannot be read ({error}); give the folder of a run") from error
    about = json.loads((_schema(paths.clips).metadata or {}).get(b"finepseudo", b"{}"))
    classes = about.get("classes", [])[: about.get("known")]
    return FinishedRun(folder=paths.root, config=config, classes=tuple(classes), dataset=str(about.get("dataset", "")))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: not there yet; finish the run with `finepseudo run`")
    return path


def _table(path: Path) -> pa.Table:
    """Read a table without its metadata."""
    try:
        return pq.read_table(_there(path)).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(_there(path))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path}: cannot be read ({reason}); remove it and type the command of the run again")


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_json(_there(path))
    return value
