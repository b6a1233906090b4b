"""Tables between the jobs: the usable split, pseudo-labels of a pool, training items with pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.csv import write_csv

from finepseudo.evaluation.metrics import pseudo_label_metrics
from finepseudo.methods.base import AnyMethod, Labels, MethodConfig
from finepseudo.methods.labelling import label_rows, plain_labels, ruled_out, warn_of_none
from finepseudo.methods.table import METHODS, REFERENCE, MethodsConfig, settings
from finepseudo.run_folder.files import write_json, write_table
from finepseudo.run_folder.layout import ACCEPTED, PSEUDO_LABELS, PSEUDO_LABELS_CSV, PSEUDO_METRICS
from jobs.workers.bars import PoolNumbers, measured_bar
from jobs.workers.part_files import matrix
from shards.annotations.base import Annotations, read_clips
from shards.errors import UserError
from shards.files import atomic
from shards.splits.config import SplitConfig
from shards.splits.label_split import LabelSplit, check_coverage, draw_split, settle, split_hash
from shards.storage.manifest import Manifest
from shards.types import ItemTable

ROW_GROUP = 1 << 12
ACCEPTED_SCHEMA = pa.schema([("key", pa.string()), ("label", pa.int32())])
"""Columns of accepted.parquet: all that a plain training reads of the pseudo-labels."""
SMALL = ["key", "label", "accepted", "confidence", "p_A_max", "p_E_max", "label_A", "label_E", "uncertainty"]
"""What the metrics, the warning, the CSV and the choice among a whole pool read of the table."""


def usable_split(found: Annotations, cfg: SplitConfig, seed: int, manifest: Manifest) -> LabelSplit:
    """Draw labels among the clips that can be read; of published lists leave out the others.

    Clips are ranked by hash, so a broken one gives its place to the next of its class and moves no other label.
    UserError when a class is left without a label, or no clip with one.
    """
    found, cfg = settle(found, cfg)
    readable = pa.array(manifest.keys, pa.string())
    if cfg.method != "lists":
        found = replace(found, clips=found.clips.filter(pc.is_in(found.clips["key"], readable)))
    drawn = draw_split(found, cfg, seed)
    table = drawn.table.filter(pc.is_in(drawn.table["key"], readable))
    usable = replace(drawn, table=table, sha256=split_hash(table, drawn.classes))
    if cfg.method == "lists" and not cfg.allow_unseen:
        check_coverage(usable, dict(zip(*(found.clips[name].to_pylist() for name in ("key", "label")), strict=True)))
    for role in ("labelled", "test"):
        if not usable.keys(role):
            raise UserError(f"split: no usable {role} clip is left; see quarantine.parquet and data.lists")
    return usable


def check_pool(split: LabelSplit, methods: Sequence[str]) -> None:
    """Raise UserError when methods that need unlabelled clips have none."""
    needy = [name for name in methods if METHODS[name].pool]
    if needy and not split.keys("unlabelled"):
        raise UserError(
            f"split: no clip is left unlabelled, and {', '.join(needy)} need such clips; lower split.ratio, or set "
            f"methods=[{REFERENCE}] to train on all labels"
        )


def check_ready(split: LabelSplit, methods: Sequence[str], sections: MethodsConfig) -> None:
    """Raise UserError when a file that a method wants says nothing of some unlabelled clips; absent files pass."""
    for method in (METHODS[name] for name in methods):
        cfg = settings(sections, method.name)
        if method.ready and method.files and all(path and path.is_file() for path in method.files(cfg).values()):
            method.ready(cfg, split.keys("unlabelled"))


def read_truth(clips: Path) -> tuple[dict[str, int], list[str]]:
    """Read the true label of every clip, for metrics only, and the names of the classes that may be predicted.

    In an open world those are the known classes, and a label beyond them is a novel one.
    """
    found = read_clips(clips)
    keys, labels = found.clips["key"].to_pylist(), found.clips["label"].to_pylist()
    return dict(zip(keys, labels, strict=True)), found.classes[: found.known]


def read_files(clips: Path) -> dict[str, str]:
    """Read the path of every clip."""
    table = pq.read_table(clips, columns=["key", "path"])
    return dict(zip(table["key"].to_pylist(), table["path"].to_pylist(), strict=True))


def label_pool_of(
    method: AnyMethod,
    cfg: MethodConfig,
    folder: Path,
    *,
    number: int,
    embeddings: Path,
    scores: Path | None,
    pool: frozenset[str],
    truth: Mapping[str, int],
    classes: Sequence[str],
    files: Mapping[str, str],
    held_out: Mapping[str, int] | None = None,
    keep: int | None = None,
) -> dict[str, Any]:
    """Write pseudo_labels.parquet and .csv, accepted.parquet, pseudo_metrics.json of a round; return the metrics.

    files: the path of every clip, for the CSV. held_out: key -> label of labelled clips that nothing trains on; a
    calibrated bar is set by them. keep: see `likeliest`.
    Part by part where the method votes by row: the numbers of a whole pool (216,000 clips x 400 classes) are several
    gigabytes, those of a part some hundred kilobytes. Parts are in key order, and so is the table.
    """
    numbers = PoolNumbers(embeddings, scores, len(classes), by_part=method.by_row, passes=method.passes)
    bar = measured_bar(method, cfg, numbers, pool, held_out or {})
    small: list[pa.Table] = []
    expected: list[np.ndarray[Any, Any]] = []

    def labelled() -> Iterator[pa.Table]:
        for piece in numbers.of(pool):
            yield label_rows(method, cfg, *piece, bar=bar.values)

    summary = _summary(table.select(SMALL) for table in labelled()) if method.keep else None
    kept = (
        None
        if method.keep is None or summary is None
        else pa.array(method.keep(cfg, number, _labels_of(summary, len(classes))))
    )
    with _table_writer(folder / PSEUDO_LABELS) as write:
        for table in labelled():
            done = sum(piece.num_rows for piece in small)
            chosen = table if kept is None else _accepting(table, kept.slice(done, table.num_rows))
            write(likeliest(chosen, keep))
            small.append(chosen.select(SMALL))
            p = matrix(chosen["p"])[chosen["accepted"].to_numpy()]
            expected.append(p.max(axis=1, initial=0) / p.sum(axis=1))
        if not small:
            raise UserError(f"{embeddings}: holds no clip of the pool; was the split changed by hand?")
    summary = pa.concat_tables(small)
    warn_of_none(method, summary)
    with atomic(folder / PSEUDO_LABELS_CSV) as temporary:
        write_csv(plain_labels(summary, files, classes), temporary)
    write_table(folder / ACCEPTED, summary.filter(summary["accepted"]).select(ACCEPTED_SCHEMA.names))
    metrics = pseudo_label_metrics(summary, truth, classes) | bar.record(np.concatenate(expected))
    write_json(folder / PSEUDO_METRICS, metrics)
    return metrics


def likeliest(table: pa.Table, count: int | None) -> pa.Table:
    """Keep of each row the probabilities of the `count` classes with the most of what was voted with; None = of all.

    Classes stay in ascending order, so that rows read the same whatever is kept. What is cut was read by nothing: the
    largest entries and their classes have columns of their own.
    """
    p = matrix(table["p"])
    if count is None or count >= p.shape[1]:
        return table
    best = np.sort(np.argsort(-p, axis=1, kind="stable")[:, :count], axis=1)
    offsets = np.arange(len(best) + 1, dtype=np.int32) * count
    for at, field in enumerate(table.schema):
        if field.name in {"classes", "p_A", "p_E", "p"} and (values := matrix(table[field.name])).shape[1]:
            kept = np.take_along_axis(values, best, axis=1)
            table = table.set_column(at, field, pa.ListArray.from_arrays(offsets, pa.array(kept.ravel())))
    return table


def _summary(pieces: Iterable[pa.Table]) -> pa.Table | None:
    found = list(pieces)
    return pa.concat_tables(found) if found else None


def _labels_of(table: pa.Table, classes: int) -> Labels:
    label, spread, accepted = (table[name].to_numpy() for name in ("label", "uncertainty", "accepted"))
    return Labels(classes=classes, label=label, spread=spread, accepted=accepted)


def _accepting(table: pa.Table, accepted: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index("accepted"), "accepted", accepted)


@contextmanager
def _table_writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Write a table piece by piece, whole or not at all, in row groups of a readable size."""
    waiting: list[pa.Table] = []
    with atomic(path) as temporary, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None

        def flush() -> None:
            nonlocal writer
            if waiting:
                writer = writer or stack.enter_context(
                    pq.ParquetWriter(temporary, waiting[0].schema, compression="zstd")
                )
                writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=ROW_GROUP)
                waiting.clear()

        def write(table: pa.Table) -> None:
            waiting.append(table)
            if sum(piece.num_rows for piece in waiting) >= ROW_GROUP:
                flush()

        yield write
        flush()


def pseudo_items(labelled: ItemTable, path: Path) -> ItemTable:
    """Put the accepted pseudo-labels of a table behind the labelled clips; replaced each round, never accumulated."""
    table = pq.read_table(path, columns=ACCEPTED_SCHEMA.names)
    known = frozenset(labelled.keys)
    both = [key for key in table["key"].to_pylist() if key in known]
    if both:
        raise UserError(f"{path}: {both[0]} is a labelled clip and has a pseudo-label; was the split changed by hand?")
    return ItemTable(
        keys=[*labelled.keys, *table["key"].to_pylist()],
        labels=np.concatenate([labelled.labels, table["label"].to_numpy().astype(np.int32)]),
        pseudo=np.concatenate([labelled.pseudo, np.ones(table.num_rows, np.bool_)]),
    )


def ruled_out_items(path: Path) -> ItemTable:
    """List the clips that got no pseudo-label but of which the vote rules out classes."""
    return ItemTable.unlabelled(ruled_out(path)[0])
