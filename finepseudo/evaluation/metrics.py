"""Numbers about predictions and pseudo-labels, by key, each clip once. Hidden true labels enter the code here only.

Shapes: N clips, C classes, T frames, F embedding size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.errors import UserError
from shards.types import NO_LABEL


def first_rows(keys: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return the row of each key's first occurrence, in key order (padding of a distributed run repeats clips)."""
    return np.unique(np.asarray(keys, dtype=str), return_index=True)[1]


def classification_metrics(
    keys: Sequence[str], labels: npt.ArrayLike, probs: npt.ArrayLike, classes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy of probs [N, C] against labels [N]: top1, top5, mean_class, n, n_invalid, per_class, confusion.

    A key counts once, by its first row. A clip whose probabilities are not finite could not be read: it counts in
    n_invalid only. mean_class averages the classes that have a clip; a class without has accuracy None. confusion[i][j]
    counts clips of class i predicted j. Accuracies are fractions, None without clips.
    """
    rows = first_rows(keys)
    p = np.asarray(probs, dtype=np.float64).reshape(len(keys), len(classes))[rows]
    truth = np.asarray(labels, dtype=np.int64)[rows]
    if truth.size and (truth.min() < 0 or truth.max() >= len(classes)):
        raise UserError(
            f"metrics: labels {truth.min()}..{truth.max()} leave 0..{len(classes) - 1}: test clips need one"
        )
    readable = np.isfinite(p).all(axis=1)
    p, truth = p[readable], truth[readable]
    ranked = np.argsort(-p, axis=1, kind="stable")[:, :5]
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (truth, ranked[:, 0]), 1)
    counts, right = confusion.sum(axis=1), confusion.diagonal()
    present = counts > 0
    return {
        "top1": _fraction(right.sum(), len(truth)),
        "top5": _fraction((ranked == truth[:, None]).any(axis=1).sum(), len(truth)),
        "mean_class": float((right[present] / counts[present]).mean()) if present.any() else None,
        "n": len(truth),
        "n_invalid": int((~readable).sum()),
        "per_class": [
            {"class": name, "n": int(n), "accuracy": _fraction(r, n)}
            for name, n, r in zip(classes, counts, right, strict=True)
        ],
        "confusion": confusion.tolist(),
    }


def _fraction(part: int | np.integer, whole: int | np.integer) -> float | None:
    return float(part / whole) if whole else None


def pseudo_label_metrics(table: pa.Table, truth: Mapping[str, int], classes: Sequence[str]) -> dict[str, Any]:
    """Compare pseudo-labels with the hidden truth, for reports only, never for selection.

    precision is that of the accepted labels, precision_A and precision_E those of either encoder's own vote on them;
    None where nothing was accepted or no clip has a true label. Clips whose truth is unknown (-1) count in coverage
    only; `judged` counts the accepted ones whose truth is known. A truth beyond `classes` is a novel class of an open
    world: a label accepted for it is wrong, and agreement is the share of all clips that both encoders label alike, and
    novel_acceptance is the share of such clips that were accepted (None without any).
    Raises UserError for a key without an entry in `truth`.
    """
    keys = table["key"].to_pylist()
    absent = [key for key in keys if key not in truth]
    if absent:
        raise UserError(f"metrics: {len(absent)} pseudo-labelled clips are not in the clip table, first {absent[0]}")
    true = np.array([truth[key] for key in keys], dtype=np.int64)
    accepted = table["accepted"].to_numpy(zero_copy_only=False).astype(bool)
    judged = accepted & (true != NO_LABEL)
    votes = {name: table[name].to_numpy(zero_copy_only=False) for name in ("label", "label_A", "label_E")}
    correct = judged & (votes["label"] == true)
    novel = true >= len(classes)
    return {
        "accepted": int(accepted.sum()),
        "judged": int(judged.sum()),
        "pool": len(keys),
        "coverage": _fraction(accepted.sum(), len(keys)) or 0.0,
        "precision": _fraction(correct.sum(), judged.sum()),
        "per_class": [
            {
                "class": name,
                "accepted": int((accepted & (votes["label"] == i)).sum()),
                "judged": int((judged & (votes["label"] == i)).sum()),
                "correct": int((correct & (votes["label"] == i)).sum()),
            }
            for i, name in enumerate(classes)
        ],
        "precision_A": _precision(votes["label_A"], true, judged),
        "precision_E": _precision(votes["label_E"], true, judged),
        "agreement": _agreement(votes["label_A"], votes["label_E"]),
        "novel": int(novel.sum()),
        "novel_acceptance": _fraction((accepted & novel).sum(), novel.sum()),
    }


def _agreement(by_frame: npt.NDArray[Any], by_action: npt.NDArray[Any]) -> float | None:
    """Share of the readable clips that both encoders label alike; None without f_A."""
    there = (by_frame != NO_LABEL) & (by_action != NO_LABEL)
    return _fraction((by_frame[there] == by_action[there]).sum(), there.sum())


def _precision(votes: npt.NDArray[Any], true: npt.NDArray[np.int64], judged: npt.NDArray[np.bool_]) -> float | None:
    if (votes[judged] == NO_LABEL).any():
        return None
    return _fraction((votes[judged] == true[judged]).sum(), judged.sum())


def average_precision(scores: npt.ArrayLike, relevant: npt.ArrayLike) -> float:
    """Area under precision-recall as the sum of precision x recall step; equal scores count as one step.

    scores [N], high = relevant; relevant bool [N]. NaN without a relevant entry.
    """
    score, wanted = np.asarray(scores, dtype=np.float64), np.asarray(relevant, dtype=bool)
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(wanted[order])
    last_of_tie = np.append(np.diff(score[order]) != 0, True)[: len(order)]
    found, taken = hits[last_of_tie], np.flatnonzero(last_of_tie) + 1
    if not wanted.any():
        return float("nan")
    steps = np.diff(np.concatenate([[0], found])) / wanted.sum()
    return float((steps * found / taken).sum())


def balanced_pairs(labels: npt.ArrayLike, seed: int, limit: int = 5000) -> tuple[npt.NDArray[np.int64], ...]:
    """Draw as many same-class as different-class unordered pairs: (i, j, same), each [2 M], M <= limit.

    Every same-class pair is taken up to `limit`; the draw depends on labels and seed alone.
    """
    label = np.asarray(labels, dtype=np.int64)
    i, j = np.triu_indices(len(label), k=1)
    same = label[i] == label[j]
    generator = np.random.default_rng(seed)
    count = min(limit, int(same.sum()), int((~same).sum()))
    rows = np.concatenate([generator.permutation(np.flatnonzero(kind))[:count] for kind in (same, ~same)])
    return i[rows], j[rows], same[rows].astype(np.int64)
