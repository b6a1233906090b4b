"""From the numbers of a pool to its table of pseudo-labels: what every vote has in common.

Shapes: N unlabelled clips, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from finepseudo.methods.base import AnyMethod, MethodConfig, Passes, Pool, Votes
from shards.errors import UserError
from shards.types import NO_LABEL

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PSEUDO_LABEL_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("accepted", pa.bool_()),
        ("confidence", pa.float32()),
        ("p_A_max", pa.float32()),
        ("p_E_max", pa.float32()),
        ("label_A", pa.int32()),
        ("label_E", pa.int32()),
        ("score_max", pa.float32()),
        ("classes", pa.list_(pa.int32())),
        ("p_A", pa.list_(pa.float32())),
        ("p_E", pa.list_(pa.float32())),
        ("p", pa.list_(pa.float32())),
        ("uncertainty", pa.float32()),
        ("negative", pa.list_(pa.bool_())),
        ("valid", pa.bool_()),
    ]
)
"""Columns of pseudo_labels.parquet; docs/files.md says what each one is."""

_LOG = logging.getLogger(__name__)


def label_pool(  # noqa: PLR0917
    method: AnyMethod,
    cfg: MethodConfig,
    keys: Sequence[str],
    scores: npt.ArrayLike | None,
    p_E: npt.ArrayLike,
    uncertainty: npt.ArrayLike,
    valid: npt.ArrayLike,
    passes: Passes | None = None,
) -> pa.Table:
    """Label a pool by a method's vote and keep every number behind each decision, one row a clip, sorted by key.

    scores [N, C] = mean S a class (None where the method needs none), p_E [N, C], uncertainty [N], valid bool [N];
    passes: see `Passes`, where the method votes on them. Rows that are not valid are kept, unaccepted, with label -1.
    Warns when nothing is accepted. Raises UserError for repeated keys, tables of different length, or a method without
    the numbers it needs.
    """
    table = label_rows(method, cfg, keys, scores, p_E, uncertainty, valid, passes)
    warn_of_none(method, table)
    return table


def label_rows(  # noqa: PLR0917
    method: AnyMethod,
    cfg: MethodConfig,
    keys: Sequence[str],
    scores: npt.ArrayLike | None,
    p_E: npt.ArrayLike,
    uncertainty: npt.ArrayLike,
    valid: npt.ArrayLike,
    passes: Passes | None = None,
    bar: Floats | None = None,
) -> pa.Table:
    """Label a pool, or a piece of one where the method votes `by_row`, as `label_pool` does, without its warning.

    bar: what was measured for this round [C], None for the method's own constant.
    """
    ordered, pool = _pool(method, keys, scores, p_E, uncertainty, valid, passes)
    return _table(ordered, pool, vote_of(method, cfg, replace(pool, bar=bar)))


def votes_on(  # noqa: PLR0917
    method: AnyMethod,
    cfg: MethodConfig,
    keys: Sequence[str],
    scores: npt.ArrayLike | None,
    p_E: npt.ArrayLike,
    uncertainty: npt.ArrayLike,
    valid: npt.ArrayLike,
    passes: Passes | None = None,
) -> tuple[list[str], Floats]:
    """Give the keys of the usable clips, sorted, and what is voted with for each [N, C]: a bar is measured on it."""
    ordered, pool = _pool(method, keys, scores, p_E, uncertainty, valid, passes)
    p = vote_of(method, cfg, pool).p[pool.usable]
    return [key for key, usable in zip(ordered, pool.usable, strict=True) if usable], p


def vote_of(method: AnyMethod, cfg: MethodConfig, pool: Pool) -> Votes:
    """Ask the method for its vote."""
    if method.vote is None:
        raise ValueError(f"{method.name} labels no pool")
    votes = method.vote(cfg, pool)
    _check_votes(method.name, votes, pool)
    return votes


def _check_votes(name: str, votes: object, pool: Pool) -> None:
    """Refuse what a vote of the user's own gives in another form: it would be taken for labels."""
    what = f"pseudo-labels: the vote of {name} gives"
    if not isinstance(votes, Votes):
        raise UserError(f"{what} a {type(votes).__name__}; it has to give Votes(p, accepted)")
    n, shape = pool.p_e.shape[:1], pool.p_e.shape
    needed = {"p": shape, "accepted": n, "p_a": shape, "spread": n, "negative": shape}
    for part, wanted in needed.items():
        value = getattr(votes, part)
        if value is None and part not in ("p", "accepted"):
            continue
        found = np.shape(value)
        if found != wanted:
            raise UserError(f"{what} {part} {list(found)}; {list(wanted)} is needed, clips and classes")
    if np.asarray(votes.accepted).dtype != np.bool_:
        raise UserError(f"{what} accepted of {np.asarray(votes.accepted).dtype}; true or false is needed for each clip")
    if not np.isfinite(votes.p[pool.usable]).all():
        raise UserError(f"{what} NaN or infinity as p; each clip needs a number for each class")


def _pool(  # noqa: PLR0917
    method: AnyMethod,
    keys: Sequence[str],
    scores: npt.ArrayLike | None,
    p_E: npt.ArrayLike,
    uncertainty: npt.ArrayLike,
    valid: npt.ArrayLike,
    passes: Passes | None,
) -> tuple[list[str], Pool]:
    """Sort the numbers of a pool by key and check them."""
    usable, p_e = np.asarray(valid, dtype=bool), np.asarray(p_E, dtype=np.float64)
    spread = np.asarray(uncertainty, dtype=np.float64)
    score = None if scores is None else np.asarray(scores, dtype=np.float64)
    _check_shapes(keys, score, p_e, spread, usable)
    order = np.argsort(np.asarray(keys, dtype=str), kind="stable")

    def ordered(values: npt.ArrayLike) -> Floats:
        return np.where(usable[:, None], np.asarray(values, dtype=np.float64), 0.0)[order]

    pool = Pool(
        usable[order],
        None if score is None else ordered(score),
        ordered(p_e),
        spread[order],
        None if passes is None else Passes(**{f.name: ordered(getattr(passes, f.name)) for f in fields(passes)}),
    )
    names = [keys[i] for i in order]
    _check_values(method, names, pool)
    return names, pool


def warn_of_none(method: AnyMethod, table: pa.Table) -> None:
    """Warn when nothing was accepted; of the table only small columns are read."""
    if (alarm := acceptance_alarm(method, table)) is not None:
        _LOG.warning("%s", alarm)


def _check_shapes(keys: Sequence[str], score: Floats | None, p_e: Floats, spread: Floats, usable: Bools) -> None:
    if not len(keys) == len(p_e) == len(spread) == len(usable) or (score is not None and score.shape != p_e.shape):
        shapes = f"{len(keys)} keys, p_E {p_e.shape}, scores {None if score is None else score.shape}"
        raise UserError(f"pseudo-labels: tables differ ({shapes}); score the same clips with both encoders")


def _check_values(method: AnyMethod, keys: Sequence[str], pool: Pool) -> None:
    repeated = sorted({a for a, b in pairwise(keys) if a == b})
    if repeated:
        raise UserError(
            f"pseudo-labels: {len(repeated)} keys occur twice, first {repeated[0]}; de-duplicate the scores"
        )
    if pool.score is None and method.aligns:
        raise UserError(f"pseudo-labels: {method.name} needs alignability scores; run the score stage first")
    if method.passes and (pool.passes is None or not np.isfinite([*_columns_of(pool.passes)]).all()):
        raise UserError(f"pseudo-labels: {method.name} needs the passes of MC-dropout for every valid clip")
    if not (np.isfinite(pool.p_e).all() and (pool.score is None or np.isfinite(pool.score).all())):
        raise UserError(
            "pseudo-labels: NaN or infinity in the scores of valid clips; an encoder diverged, lower its lr"
        )


def _columns_of(passes: Passes) -> Iterator[Floats]:
    return (getattr(passes, field.name) for field in fields(passes))


def _table(keys: Sequence[str], pool: Pool, votes: Votes) -> pa.Table:
    """Assemble the columns; without scores theirs are NaN, empty or -1."""
    p_a, label = votes.p_a, votes.p.argmax(axis=1)
    shown = np.full((len(keys), 1), np.nan) if p_a is None else np.where(pool.usable[:, None], p_a, 0.0)
    score_max = np.full(len(keys), np.nan) if pool.score is None else pool.score.max(axis=1)
    columns = {
        "key": pa.array(keys, pa.string()),
        "label": _labels(label, pool.usable),
        "accepted": pa.array(pool.usable & votes.accepted),
        "confidence": _floats(np.where(pool.usable, votes.confidence, 0.0)),
        "p_A_max": _floats(shown.max(axis=1)),
        "p_E_max": _floats(pool.p_e.max(axis=1)),
        "label_A": _labels(shown.argmax(axis=1), pool.usable & (p_a is not None)),
        "label_E": _labels(pool.p_e.argmax(axis=1), pool.usable),
        "score_max": _floats(score_max),
        "classes": _rows(np.tile(np.arange(votes.p.shape[1], dtype=np.int32), (len(keys), 1))),
        "p_A": _lists(shown[:, : 0 if p_a is None else None]),
        "p_E": _lists(pool.p_e),
        "p": _lists(np.where(pool.usable[:, None], votes.p, 0.0)),
        "uncertainty": _floats(pool.spread if votes.spread is None else votes.spread),
        "negative": _rows(np.zeros((len(keys), 0), bool) if votes.negative is None else votes.negative),
        "valid": pa.array(pool.usable),
    }
    return pa.table(columns, schema=PSEUDO_LABEL_SCHEMA)


def plain_labels(table: pa.Table, paths: Mapping[str, str], classes: Sequence[str]) -> pa.Table:
    """Write labels for other tools: path, class, confidence, accepted, and the class and confidence of either vote.

    table: some columns of pseudo-labels; a class is empty where a clip could not be read or there is no such vote.
    """

    def names(column: str) -> pa.Array:
        return pa.array(["" if i == NO_LABEL else classes[i] for i in table[column].to_pylist()], pa.string())

    columns = {
        "path": pa.array([paths.get(key, "") for key in table["key"].to_pylist()], pa.string()),
        "class": names("label"),
        "confidence": table["confidence"],
        "accepted": table["accepted"],
        "class_A": names("label_A"),
        "confidence_A": pc.if_else(pc.is_nan(table["p_A_max"]), None, table["p_A_max"]),
        "class_E": names("label_E"),
        "confidence_E": table["p_E_max"],
        "key": table["key"],
    }
    return pa.table(columns)


def _labels(label: npt.NDArray[np.integer], usable: Bools) -> pa.Array:
    return pa.array(np.where(usable, label, NO_LABEL).astype(np.int32))


def _floats(values: npt.NDArray[np.floating]) -> pa.Array:
    return pa.array(values.astype(np.float32))


def _lists(values: Floats) -> pa.Array:
    return _rows(values.astype(np.float32))


def _rows(values: npt.NDArray[Any]) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))


def ruled_out(path: Path) -> tuple[list[str], Bools]:
    """Read the clips that got no pseudo-label but of which the vote rules out classes: keys, and which [M, C]."""
    table = pq.read_table(path, columns=["key", "accepted", "negative"])
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table["negative"].chunks]
    negative = np.concatenate([*chunks, np.zeros(0, bool)]).reshape(table.num_rows, -1 if table.num_rows else 0)
    wanted = negative.any(axis=1) & ~table["accepted"].to_numpy()
    return table["key"].filter(pa.array(wanted)).to_pylist(), negative[wanted]


def acceptance_alarm(method: AnyMethod, table: pa.Table) -> str | None:
    """Return a line that says why no label was accepted, or None if some were. Training never falls back silently."""
    if any(table["accepted"].to_pylist()) or table.num_rows == 0:
        return None
    seen = {name: [v for v in table[f"{name}_max"].to_pylist() if np.isfinite(v)] for name in ("p_A", "p_E")}
    highest = ", ".join(f"highest {name} {max(values):.3f}" for name, values in seen.items() if values)
    why = "near-uniform p_A means that f_S collapsed or the classes are many; " if seen["p_A"] else ""
    return (
        f"no pseudo-label accepted of {table.num_rows} clips: {highest or 'no valid clip'}; "
        f"{why}train longer, or lower {_advice(method)}"
    )


def _advice(method: AnyMethod) -> str:
    return f"method.{method.name}.{method.threshold}" if method.threshold else f"the thresholds of method.{method.name}"
