"""A run folder in, plain values out: nothing but the files of the folder is read, and nothing in it is changed.

A part that is not there yet is `None` or empty; a part that is there and cannot be read is named in `problems`,
which the report shows. Only a folder that is no run at all is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from finepseudo.methods.own import KEY as OWN_METHODS
from finepseudo.methods.own import take_those_there
from finepseudo.methods.table import in_order
from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.layout import EXAMPLES, METRICS, PREDICTIONS, PSEUDO_LABELS, PSEUDO_METRICS, RunPaths
from finepseudo.run_folder.yaml_text import parse_yaml
from shards.errors import UserError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRound:
    """The pseudo-labels of one round of one method: metrics at hand, the row table still on disk."""

    round: int
    table: Path | None
    metrics: Json | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodRun:
    """One method of one seed."""

    name: str
    rounds: tuple[LabelRound, ...]
    metrics: Json | None
    predictions: Path | None
    examples: Path | None
    votes: Json | None = None


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
    methods: Mapping[str, MethodRun]


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

    @property
    def paths(self) -> RunPaths:
        """Where its files are."""
        return RunPaths(self.root)

    def asks_for(self, *, seed: object = None, method: object = None, number: object = None) -> bool:
        """Tell whether the configuration names a seed, method and round.

        An earlier one may have left others in the folder: their numbers are not of this run.
        """
        seeds, methods, rounds = (self.config.get(key) for key in ("seeds", "methods", "rounds"))
        return (
            (seed is None or not isinstance(seeds, list) or seed in seeds)
            and (method is None or not isinstance(methods, list) or method in methods)
            and not (isinstance(number, int) and isinstance(rounds, int) and number > rounds)
        )

    def class_name(self, value: object) -> str:
        """Name a class given by name or by index."""
        if isinstance(value, int) and 0 <= value < len(self.classes):
            return self.classes[value]
        return str(value)

    def methods(self) -> list[str]:
        """List the methods of all seeds in the order of the table, then unknown ones by name."""
        return in_order(name for seed in self.seeds for name in seed.methods)

    def main_method(self) -> str | None:
        """Choose the method shown in detail: the last one with pseudo-labels, else the last."""
        names = self.methods()
        with_labels = [n for n in names if any(run.rounds for _, run in self.runs(n))]
        return next(iter((with_labels or names)[::-1]), None)

    def runs(self, method: str) -> Iterator[tuple[int, MethodRun]]:
        """Yield (seed, run) of one method."""
        return ((s.seed, s.methods[method]) for s in self.seeds if method in s.methods)


def read_run(root: Path) -> RunFolder:
    """Read the run folder. UserError when there is no such folder or it is no run."""
    root = Path(root)
    paths = RunPaths(root)
    if not root.is_dir():
        raise UserError(f"report: {root} is no folder; give the run folder, for example runs/demo")
    if not paths.config.is_file() and not paths.data.is_dir() and not paths.seeds():
        raise UserError(
            f"report: {root} is no run folder (it holds neither config.yaml nor data/ nor seed-*/); "
            "give the folder that `finepseudo run` made"
        )
    run = RunFolder(root=root)
    _read_config(run)
    run.environment = _json(run.paths.environment, run)
    _read_clips(run)
    run.quarantine = _read_quarantine(run)
    run.seeds = [_read_seed(seed, run) for seed, _ in run.paths.seeds() if run.asks_for(seed=seed)]
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
    path = run.paths.config
    if not path.is_file():
        return
    try:
        run.config_text = path.read_text(encoding="utf-8")
        value = parse_yaml(run.config_text)
    except (OSError, ValueError) as error:
        run.problems.append(f"config.yaml cannot be read: {error}")
        return
    run.config = value if isinstance(value, dict) else {}
    if missing := take_those_there(run.config.get(OWN_METHODS)):
        run.problems.append(f"config.yaml: {missing}; the method is shown by its name alone")


def _read_clips(run: RunFolder) -> None:
    read = _table(run.paths.clips, run, ["key", "label"])
    if read is None:
        return
    table, about = read
    run.classes = [str(c) for c in about.get("classes", [])]
    run.dataset, run.dataset_version = str(about.get("dataset", "")), str(about.get("version", ""))
    run.classes = run.classes[: about.get("known")]  # in an open world f_E knows these alone
    run.truth = dict(zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True))


def _read_quarantine(run: RunFolder) -> list[tuple[str, int, str]] | None:
    """Count quarantined clips by reason, most frequent first, with one key as an example."""
    read = _table(run.paths.quarantine, run, ["key", "reason"])
    if read is None:
        return None
    keys, reasons = (read[0][name].to_pylist() for name in ("key", "reason"))
    example = dict(zip(reversed(reasons), reversed(keys), strict=True))
    return [(str(r), n, str(example[r])) for r, n in sorted(Counter(reasons).items(), key=lambda x: (-x[1], x[0]))]


def _read_seed(seed: int, run: RunFolder) -> SeedRun:
    return SeedRun(
        seed=seed,
        split=_read_split(run.paths.split(seed), seed, run),
        methods={name: _read_method(name, seed, run) for name in run.paths.methods(seed) if run.asks_for(method=name)},
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


def _read_method(name: str, seed: int, run: RunFolder) -> MethodRun:
    rounds = []
    for n, path in run.paths.rounds(seed, name):
        table, metrics = path / PSEUDO_LABELS, _json(path / PSEUDO_METRICS, run)
        if (table.is_file() or metrics is not None) and run.asks_for(number=n) and not _is_left_over(n, run):
            rounds.append(LabelRound(round=n, table=table if table.is_file() else None, metrics=metrics))
    evaluation = run.paths.evaluation(seed, name)
    files = [evaluation / PREDICTIONS, evaluation / EXAMPLES]
    predictions, examples = (path if path.is_file() else None for path in files)
    return MethodRun(
        name=name,
        rounds=tuple(rounds),
        metrics=_json(evaluation / METRICS, run),
        predictions=predictions,
        examples=examples,
        votes=_json(run.paths.votes(seed, name) / METRICS, run),
    )


def _is_left_over(number: int, run: RunFolder) -> bool:
    """Tell whether labels of the last round are of a time when `embed.last_round` asked for them."""
    embed = run.config.get("embed")
    asked = embed.get("last_round", True) if isinstance(embed, dict) else True
    return bool(number) and number == run.config.get("rounds") and not asked


def _read_log(run: RunFolder) -> list[Json]:
    """Read metrics.jsonl; a line cut short by a killed process is counted, not fatal."""
    path = run.paths.metrics
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
                if run.asks_for(seed=value.get("seed"), method=value.get("method"), number=value.get("round")):
                    records.append(value)
            elif line.strip():
                bad += 1
    if bad:
        run.problems.append(f"metrics.jsonl: {bad} line(s) could not be read (a process was stopped while writing)")
    return records


def _read_done(run: RunFolder) -> list[Done]:
    records = []
    for path in sorted(run.root.rglob(DONE)):
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
