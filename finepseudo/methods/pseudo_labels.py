"""From class scores and class probabilities to pseudo-labels: eq. (8), the fusion and the strategies of Table 6.

Shapes: N unlabelled clips, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from finepseudo.methods.config import PseudoLabelConfig
from shards.errors import UserError
from shards.types import NO_LABEL

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_LOG = logging.getLogger(__name__)


def class_probabilities(scores: Floats, tau: float) -> Floats:
    """Eq. (8): p_A = softmax(S / tau) over the classes; scores [N, C] -> [N, C]."""
    shifted = (scores - scores.max(axis=1, keepdims=True, initial=-np.inf)) / tau
    powers = np.exp(shifted)
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


@dataclass(frozen=True, slots=True)
class _Pool:
    """The numbers of a pool in key order; rows of unusable clips are zero. score is None where none was given."""

    keys: list[str]
    usable: Bools
    score: Floats | None
    p_e: Floats
    spread: Floats


def label_pool(  # noqa: PLR0917
    cfg: PseudoLabelConfig,
    keys: Sequence[str],
    scores: npt.ArrayLike | None,
    p_E: npt.ArrayLike,
    uncertainty: npt.ArrayLike,
    valid: npt.ArrayLike,
) -> pa.Table:
    """Label a pool and keep every number behind each decision, one row a clip, sorted by key.

    scores [N, C] = mean S a class (None where the strategy needs none), p_E [N, C], uncertainty [N], valid bool [N].
    Rows that are not valid are kept, unaccepted, with label -1. Warns when nothing is accepted. Raises UserError for
    repeated keys, tables of different length, or a strategy without the numbers it needs.
    """
    usable, p_e = np.asarray(valid, dtype=bool), np.asarray(p_E, dtype=np.float64)
    spread = np.asarray(uncertainty, dtype=np.float64)
    score = None if scores is None else np.asarray(scores, dtype=np.float64)
    _check_shapes(keys, score, p_e, spread, usable)
    order = np.argsort(np.asarray(keys, dtype=str), kind="stable")
    pool = _Pool(
        [keys[i] for i in order],
        usable[order],
        None if score is None else np.where(usable[:, None], score, 0.0)[order],
        np.where(usable[:, None], p_e, 0.0)[order],
        spread[order],
    )
    _check_values(cfg, pool)
    table = _decide(cfg, pool)
    if (alarm := acceptance_alarm(table)) is not None:
        _LOG.warning("%s", alarm)
    return table


def _check_shapes(keys: Sequence[str], score: Floats | None, p_e: Floats, spread: Floats, usable: Bools) -> None:
    if not len(keys) == len(p_e) == len(spread) == len(usable) or (score is not None and score.shape != p_e.shape):
        shapes = f"{len(keys)} keys, p_E {p_e.shape}, scores {None if score is None else score.shape}"
        raise UserError(f"pseudo-labels: tables differ ({shapes}); score the same clips with both encoders")


def _check_values(cfg: PseudoLabelConfig, pool: _Pool) -> None:
    repeated = sorted({a for a, b in pairwise(pool.keys) if a == b})
    if repeated:
        raise UserError(
            f"pseudo-labels: {len(repeated)} keys occur twice, first {repeated[0]}; de-duplicate the scores"
        )
    if pool.score is None and cfg.strategy in ("verification", "collaborative"):
        raise UserError(f"pseudo-labels: strategy {cfg.strategy} needs alignability scores; run the score stage first")
    if not (np.isfinite(pool.p_e).all() and (pool.score is None or np.isfinite(pool.score).all())):
        raise UserError(
            "pseudo-labels: NaN or infinity in the scores of valid clips; an encoder diverged, lower its lr"
        )
    if cfg.strategy == "uncertainty" and not np.isfinite(pool.spread[pool.usable]).all():
        raise UserError("pseudo-labels: strategy uncertainty needs the spread of MC-dropout for every valid clip")


def _decide(cfg: PseudoLabelConfig, pool: _Pool) -> pa.Table:
    """Vote, accept and assemble the columns; without scores theirs are NaN, empty or -1."""
    p_a = None if pool.score is None else class_probabilities(pool.score, cfg.tau)
    p = pool.p_e
    if cfg.strategy == "collaborative" and p_a is not None:
        p = (p_a + pool.p_e) / (2 if cfg.fuse == "mean" else 1)
    rows, label = np.arange(len(p)), p.argmax(axis=1)
    confidence = p[rows, label].astype(np.float32)
    accepted = pool.usable & _accept(cfg, confidence, label, pool)
    shown = np.full((len(p), 1), np.nan) if p_a is None else np.where(pool.usable[:, None], p_a, 0.0)
    score_max = np.full(len(p), np.nan) if pool.score is None else pool.score.max(axis=1)
    columns = {
        "key": pa.array(pool.keys, pa.string()),
        "label": _labels(label, pool.usable),
        "accepted": pa.array(accepted),
        "confidence": _floats(np.where(pool.usable, confidence, 0.0)),
        "p_A_max": _floats(shown.max(axis=1)),
        "p_E_max": _floats(pool.p_e.max(axis=1)),
        "label_A": _labels(shown.argmax(axis=1), pool.usable & (p_a is not None)),
        "label_E": _labels(pool.p_e.argmax(axis=1), pool.usable),
        "score_max": _floats(score_max),
        "p_A": _lists(shown[:, : 0 if p_a is None else None]),
        "p_E": _lists(pool.p_e),
        "p": _lists(np.where(pool.usable[:, None], p, 0.0)),
        "uncertainty": _floats(pool.spread),
        "valid": pa.array(pool.usable),
    }
    return pa.table(columns)


def _accept(
    cfg: PseudoLabelConfig, confidence: npt.NDArray[np.float32], label: npt.NDArray[np.intp], pool: _Pool
) -> Bools:
    """Apply the strategy's thresholds to its confidence [N] in its labels [N]."""
    if cfg.strategy == "uncertainty":
        return (confidence >= cfg.uncertainty_theta) & (pool.spread < cfg.uncertainty_kappa)
    accepted: Bools = confidence > cfg.bar
    if cfg.strategy == "verification" and pool.score is not None:
        accepted = accepted & (pool.score[np.arange(len(label)), label] > cfg.verification_theta)
    return accepted


def _labels(label: npt.NDArray[np.integer], usable: Bools) -> pa.Array:
    return pa.array(np.where(usable, label, NO_LABEL).astype(np.int32))


def _floats(values: npt.NDArray[np.floating]) -> pa.Array:
    return pa.array(values.astype(np.float32))


def _lists(values: Floats) -> pa.Array:
    flat = pa.array(values.astype(np.float32).ravel())
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, flat)


def acceptance_alarm(table: pa.Table) -> str | None:
    """Return a line that says why no label was accepted, or None if some were. Training never falls back silently."""
    if any(table["accepted"].to_pylist()) or table.num_rows == 0:
        return None
    seen = {name: [v for v in table[f"{name}_max"].to_pylist() if np.isfinite(v)] for name in ("p_A", "p_E")}
    highest = ", ".join(f"highest {name} {max(values):.3f}" for name, values in seen.items() if values)
    why = "near-uniform p_A means that f_S collapsed or the classes are many; " if seen["p_A"] else ""
    return (
        f"no pseudo-label accepted of {table.num_rows} clips: {highest or 'no valid clip'}; "
        f"{why}train longer, or lower pseudo_labels.theta or tau"
    )
