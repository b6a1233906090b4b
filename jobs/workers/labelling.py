"""Tables between the jobs: the usable split, pseudo-labels of a pool, training items with pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from finepseudo.evaluation.metrics import pseudo_label_metrics
from finepseudo.methods.base import AnyMethod, Labels, MethodConfig, Passes
from finepseudo.methods.labelling import label_rows, ruled_out, warn_of_none
from finepseudo.methods.table import METHODS, REFERENCE
from finepseudo.run_folder.files import write_json
from finepseudo.run_folder.layout import PSEUDO_LABELS, PSEUDO_METRICS
from jobs.workers.part_files import matrix, parts, read_parts
from shards.annotations.base import Annotations, read_clips
from shards.errors import UserError
from shards.files import atomic
from shards.splits.config import SplitConfig
from shards.splits.label_split import LabelSplit, check_coverage, draw_split, settle, split_hash
from shards.storage.manifest import Manifest
from shards.types import ItemTable

ROW_GROUP = 1 << 12
SMALL = ["key", "label", "accepted", "p_A_max", "p_E_max", "label_A", "label_E", "uncertainty"]
"""What the metrics, the warning and the choice among a whole pool read of the table."""
READ = ["key", "p_E", "uncertainty", "valid"]
PASSES = [field.name for field in fields(Passes)]
"""Columns of the embeddings that every vote reads, and those of MC-dropout."""


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


def read_truth(clips: Path) -> tuple[dict[str, int], list[str]]:
    """Read the true label of every clip, for metrics only, and the names of the classes that may be predicted.

    In an open world those are the known classes, and a label beyond them is a novel one.
    """
    found = read_clips(clips)
    keys, labels = found.clips["key"].to_pylist(), found.clips["label"].to_pylist()
    return dict(zip(keys, labels, strict=True)), found.classes[: found.known]


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
) -> dict[str, Any]:
    """Write pseudo_labels.parquet and pseudo_metrics.json of one method in round `number`; return the metrics.

    Part by part where the method votes by row: the numbers of a whole pool (216,000 clips x 400 classes) are several
    gigabytes, those of a part some hundred kilobytes. Parts are in key order, and so is the table.
    """
    wanted, found = pa.array(sorted(pool), pa.string()), parts(embeddings)
    groups = [[path] for path in found] if method.by_row else [found]

    def labelled() -> Iterator[pa.Table]:
        for paths in groups:
            table = read_parts(paths, [*READ, *(PASSES if method.passes else ())])
            table = table.filter(pc.is_in(table["key"], wanted))
            if not table.num_rows:
                continue
            keys, passes = table["key"].to_pylist(), _passes_of(table) if method.passes else None
            given = None if scores is None else _scores_of([scores / path.name for path in paths], keys, len(classes))
            numbers = (matrix(table["p_E"]), table["uncertainty"].to_numpy(), table["valid"].to_numpy())
            yield label_rows(method, cfg, keys, given, *numbers, passes)

    summary = _summary(table.select(SMALL) for table in labelled()) if method.keep else None
    kept = (
        None
        if method.keep is None or summary is None
        else pa.array(method.keep(cfg, number, _labels_of(summary, len(classes))))
    )
    small: list[pa.Table] = []
    with _table_writer(folder / PSEUDO_LABELS) as write:
        for table in labelled():
            done = sum(piece.num_rows for piece in small)
            chosen = table if kept is None else _accepting(table, kept.slice(done, table.num_rows))
            write(chosen)
            small.append(chosen.select(SMALL))
        if not small:
            raise UserError(f"{embeddings}: holds no clip of the pool; was the split changed by hand?")
    summary = pa.concat_tables(small)
    warn_of_none(method, summary)
    metrics = pseudo_label_metrics(summary, truth, classes)
    write_json(folder / PSEUDO_METRICS, metrics)
    return metrics


def _summary(pieces: Iterable[pa.Table]) -> pa.Table | None:
    found = list(pieces)
    return pa.concat_tables(found) if found else None


def _labels_of(table: pa.Table, classes: int) -> Labels:
    label, spread, accepted = (table[name].to_numpy() for name in ("label", "uncertainty", "accepted"))
    return Labels(classes=classes, label=label, spread=spread, accepted=accepted)


def _accepting(table: pa.Table, accepted: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index("accepted"), "accepted", accepted)


def _passes_of(table: pa.Table) -> Passes:
    return Passes(**{name: matrix(table[name]).astype(np.float64) for name in PASSES})


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


def _scores_of(paths: Sequence[Path], keys: Sequence[str], n_classes: int) -> np.ndarray[Any, Any]:
    """Look up the class scores [N, C] of `keys`; clips that could not be read have zeros (and are not valid)."""
    table = read_parts(paths, ["key", "scores"])
    places = pc.index_in(pa.array(keys, pa.string()), table["key"].combine_chunks()).to_numpy(zero_copy_only=False)
    found = ~np.isnan(places.astype(float))
    scores = np.zeros((len(keys), n_classes), np.float32)
    if found.any():
        scores[found] = matrix(table["scores"])[places[found].astype(np.int64)]
    return scores


def pseudo_items(labelled: ItemTable, path: Path) -> ItemTable:
    """Put the accepted pseudo-labels behind the labelled clips; replaced each round, never accumulated."""
    table = pq.read_table(path, columns=["key", "label", "accepted"])
    table = table.filter(table["accepted"])
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
