"""The gallery of true-labelled embeddings against which unlabelled clips are aligned (eq. 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finepseudo.soft_dtw import AlignmentBank
from shards.errors import UserError


def choose_rows(
    labels: npt.NDArray[np.int64],
    n_classes: int,
    per_class: int,
    *,
    seed: int,
    round: int,  # noqa: A002
) -> npt.NDArray[np.int64]:
    """Choose R = min(per_class, n_c) rows a class at random: row numbers in class order.

    A pure function of its arguments; each class has a generator of its own, so classes do not disturb each other.
    """
    chosen = []
    for label in range(n_classes):
        rows = np.flatnonzero(labels == label)
        generator = np.random.default_rng([seed, round, label])
        chosen.append(np.sort(generator.permutation(rows)[:per_class]))
    return np.concatenate(chosen)


def build_gallery(
    embeddings: Tensor,
    labels: Sequence[int] | Tensor,
    n_classes: int,
    per_class: int = 15,
    *,
    seed: int,
    round: int,  # noqa: A002
) -> AlignmentBank:
    """Pack embeddings [N, T, F] of labelled clips into a bank with at most per_class of each class (paper: R = 15).

    Only true labels may come in (paper: built from D_l). It is redrawn every round (open in the paper). The order of
    the rows matters: give them sorted by key. A class without a clip is allowed.
    Raises UserError for labels out of range.
    """
    numbers = np.asarray(labels, dtype=np.int64)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= n_classes):
        found = f"{numbers.min()}..{numbers.max()}"
        raise UserError(f"gallery: labels {found} leave 0..{n_classes - 1}: only clips with a true label belong here")
    if not numbers.size:
        raise UserError("gallery: no usable labelled clip; p_A needs at least one")
    rows = torch.from_numpy(choose_rows(numbers, n_classes, per_class, seed=seed, round=round))
    return AlignmentBank(embeddings[rows], labels=torch.from_numpy(numbers)[rows], n_classes=n_classes)
