"""A run folder in, plain values out: nothing but the files of the folder is read, and nothing in it is changed.

A part that is not there yet is `None` or empty; a part that is there and cannot be read is named in `problems`,
which the report shows. Only a folder that is no run at all is refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from shards.errors import UserError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Json = dict[str, Any]

STRATEGY_TITLES = {
    "supervised": "Supervised only",
    "confidence": "Pseudo-label baseline",
    "uncertainty": "Uncertainty-filtered",
    "verification": "Alignability verification",
    "collaborative": "FinePseudo",
}
"""Known strategies in the order of the table, and how readers know them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRound:
    """The pseudo-labels of one round of one strategy: metrics at hand, the row table still on disk."""

    round: int
    table: Path | None
    metrics: Json | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyRun:
    """One strategy of one seed."""

    name: str
    rounds: tuple[LabelRound, ...]
    metrics: Json | None
    predictions: Path | None
    examples: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitInfo:
    """What the label split of one seed says: its hash, how it was drawn, clips per role, classes per role."""

    seed: int
    sha256: str
    method: str
    ratio: str
    counts: Mapping[str, int]
    classes: Mapping[str, frozenset[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedRun:
    """One seed folder."""

    seed: int
    split: SplitInfo | None
    strategies: Mapping[str, StrategyRun]


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """One finished stage. `wall_s` in seconds."""

    stage: str
    folder: str
    wall_s: float
    finished_at: str
    code_version: str


@dataclass(kw_only=True, slots=True)
class RunFolder:
    """Everything the report shows, except the large tables, which are read when a figure needs them."""

    root: Path
    config_text: str | None = None
    config: Json = field(default_factory=dict)
    environment: Json | None = None
    dataset: str = ""
    dataset_version: str = ""
    classes: list[str] = field(default_factory=list)
    truth: dict[str, int] = field(default_factory=dict)
    quarantine: list[tuple[str, int, str]] | None = None
    seeds: list[SeedRun] = field(default_factory=list)
    log: list[Json] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def class_name(self, value: object) -> str:
        """Name a class given by name or by index."""
        if isinstance(value, int) and 0 <= value < len(self.classes):
            return self.classes[value]
        return str(value)

    def strategies(self) -> list[str]:
        """List the strategies of all seeds: the known ones in the order of the table, then the others by name."""
        seen = {name for seed in self.seeds for name in seed.strategies}
        known = [name for name in STRATEGY_TITLES if name in seen]
        return known + sorted(seen - set(known))

    def main_strategy(self) -> str | None:
        """Choose the strategy shown in detail: FinePseudo, else the last one with pseudo-labels, else the last."""
        names = self.strategies()
        with_labels = [n for n in names if any(run.rounds for _, run in self.runs(n))]
        return "collaborative" if "collaborative" in names else next(iter((with_labels or names)[::-1]), None)

    def runs(self, strategy: str) -> Iterator[tuple[int, StrategyRun]]:
        """Yield (seed, run) of one strategy."""
        return ((s.seed, s.strategies[strategy]) for s in self.seeds if strategy in s.strategies)


def strategy_title(name: str) -> str:
    """Name a strategy for readers."""
    return STRATEGY_TITLES.get(name, name)


def read_run(root: Path) -> RunFolder:
    """Read the run folder. UserError when there is no such folder or it is no run."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"report: {root} is no folder; give the run folder, for example runs/demo")
    if not (root / "config.yaml").is_file() and not (root / "data").is_dir() and not list(root.glob("seed-*")):
        raise UserError(
            f"report: {root} is no run folder (it holds neither config.yaml nor data/ nor seed-*/); "
            "give the folder that `finepseudo run` made"
        )
    run = RunFolder(root=root)
    _read_config(run)
    run.environment = _json(root / "environment.json", run)
    _read_clips(run)
    run.quarantine = _read_quarantine(run)
    run.seeds = [seed for folder, n in _numbered(root, "seed") if (seed := _read_seed(folder, n, run))]
    run.log = _read_log(run)
    run.done = _read_done(run)
    return run


def _json(path: Path, run: RunFolder) -> Json | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        run.problems.append(f"{path.relative_to(run.root)} cannot be read: {error}")
        return None
    if not isinstance(value, dict):
        run.problems.append(f"{path.relative_to(run.root)} does not hold a JSON object")
        return None
    return value


def _table(path: Path, run: RunFolder, columns: list[str]) -> tuple[Any, Json] | None:
    """Read a parquet table and its `finepseudo` metadata; None when absent or unreadable (named in problems)."""
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path, columns=columns)
        return table, json.loads((table.schema.metadata or {}).get(b"finepseudo", b"{}"))
    except (OSError, ValueError, pa.ArrowException) as error:
        run.problems.append(f"{path.relative_to(run.root)} cannot be read: {error}".splitlines()[0])
        return None


def _read_config(run: RunFolder) -> None:
    path = run.root / "config.yaml"
    if not path.is_file():
        return
    try:
        run.config_text = path.read_text(encoding="utf-8")
        value = yaml.safe_load(run.config_text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        run.problems.append(f"config.yaml cannot be read: {str(error).splitlines()[0]}")
        return
    run.config = value if isinstance(value, dict) else {}


def _read_clips(run: RunFolder) -> None:
    read = _table(run.root / "data" / "clips.parquet", run, ["key", "label"])
    if read is None:
        return
    table, about = read
    run.classes = [str(c) for c in about.get("classes", [])]
    run.dataset, run.dataset_version = str(about.get("dataset", "")), str(about.get("version", ""))
    run.classes = run.classes[: about.get("known")]  # in an open world f_E knows these alone
    run.truth = dict(zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True))


def _read_quarantine(run: RunFolder) -> list[tuple[str, int, str]] | None:
    """Count quarantined clips by reason, most frequent first, with one key as an example."""
    read = _table(run.root / "data" / "quarantine.parquet", run, ["key", "reason"])
    if read is None:
        return None
    keys, reasons = (read[0][name].to_pylist() for name in ("key", "reason"))
    example = dict(zip(reversed(reasons), reversed(keys), strict=True))
    return [(str(r), n, str(example[r])) for r, n in sorted(Counter(reasons).items(), key=lambda x: (-x[1], x[0]))]


def _numbered(folder: Path, prefix: str) -> list[tuple[Path, int]]:
    """List the subfolders `prefix-<number>` by number."""
    found = ((p, re.fullmatch(rf"{prefix}-(\d+)", p.name)) for p in folder.iterdir() if p.is_dir())
    return sorted(((p, int(m.group(1))) for p, m in found if m), key=lambda x: x[1])


def _read_seed(folder: Path, seed: int, run: RunFolder) -> SeedRun:
    shared = re.compile(r"pretrain|round-\d+|\..*")
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not shared.fullmatch(p.name))
    return SeedRun(
        seed=seed,
        split=_read_split(folder / "split.parquet", seed, run),
        strategies={name: _read_strategy(folder / name, run) for name in names},
    )


def _read_split(path: Path, seed: int, run: RunFolder) -> SplitInfo | None:
    read = _table(path, run, ["key", "role", "label"])
    if read is None:
        return None
    table, about = read
    if not run.classes:
        run.classes = [str(c) for c in about.get("classes", [])]
    roles = table["role"].to_pylist()
    classes: dict[str, set[int]] = {}
    for role, label in zip(roles, table["label"].to_pylist(), strict=True):
        if label is not None and label >= 0:
            classes.setdefault(role, set()).add(label)
    return SplitInfo(
        seed=seed,
        sha256=str(about.get("sha256", "")),
        method=str(about.get("method", "")),
        ratio=str(about.get("ratio", "")),
        counts=Counter(roles),
        classes={role: frozenset(values) for role, values in classes.items()},
    )


def _read_strategy(folder: Path, run: RunFolder) -> StrategyRun:
    rounds = []
    for path, n in _numbered(folder, "round"):
        table, metrics = path / "pseudo_labels.parquet", _json(path / "pseudo_metrics.json", run)
        if table.is_file() or metrics is not None:
            rounds.append(LabelRound(round=n, table=table if table.is_file() else None, metrics=metrics))
    evaluation = folder / "evaluation"
    files = [evaluation / "predictions.parquet", evaluation / "examples.npz"]
    predictions, examples = (path if path.is_file() else None for path in files)
    return StrategyRun(
        name=folder.name,
        rounds=tuple(rounds),
        metrics=_json(evaluation / "metrics.json", run),
        predictions=predictions,
        examples=examples,
    )


def _read_log(run: RunFolder) -> list[Json]:
    """Read metrics.jsonl; a line cut short by a killed process is counted, not fatal."""
    path = run.root / "metrics.jsonl"
    if not path.is_file():
        return []
    records: list[Json] = []
    bad = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                records.append(value)
            elif line.strip():
                bad += 1
    if bad:
        run.problems.append(f"metrics.jsonl: {bad} line(s) could not be read (a process was stopped while writing)")
    return records


def _read_done(run: RunFolder) -> list[Done]:
    records = []
    for path in sorted(run.root.rglob("DONE.json")):
        record = _json(path, run)
        if record is not None:
            records.append(
                Done(
                    stage=str(record.get("stage", path.parent.name)),
                    folder=str(path.parent.relative_to(run.root)),
                    wall_s=float(record.get("wall_s") or 0.0),
                    finished_at=str(record.get("finished_at", "")),
                    code_version=str(record.get("code_version", "")),
                )
            )
    return sorted(records, key=lambda d: (d.finished_at, d.folder))
