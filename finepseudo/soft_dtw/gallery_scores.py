"""All videos against a gallery, without gradient: the whole [U, G] table, or class means streamed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from finepseudo.soft_dtw import backends, checks, ops, rows
from finepseudo.soft_dtw.bank import AlignmentBank

Scorer = Callable[[Tensor], Tensor]
CHUNK_PAIRS = {"cpu": 1 << 21, "device": 1 << 23}
"""Alignments whose distances are in memory at once while streaming (8 or 32 MiB); fewer do not fill a GPU."""
SCORE_PAIRS = 1 << 19
"""Alignments that the scorer sees at once on a device."""
LEAST_ROWS = 64
"""Rows at once on a device, however large the gallery: a tile of the Triton kernel."""


def _check(u: Tensor, bank: AlignmentBank, gamma: float, normalize: str) -> float:
    checks.embeddings("u", u)
    if not isinstance(bank, AlignmentBank):
        raise ValueError(f"bank is a {type(bank).__name__}; it must be an AlignmentBank")
    checks.same_features("u", u, bank.features, bank.device)
    checks.normalize_value(normalize)
    return checks.gamma_value(gamma)


def _distances(u: Tensor, u_len: Tensor, bank: AlignmentBank, gamma: float, normalize: str, backend: str) -> Tensor:
    operand, order = bank.operand(backend)
    with torch.autocast(u.device.type, enabled=False):
        unit = bank.rounded(u, u_len, backend)
        value: Tensor = ops.soft_dtw_bank(unit, u_len, operand, order, bank.lengths, gamma, backend)
    if normalize != "none":
        value = (value / rows.path_scale(u_len, bank.lengths, normalize)).to(value.dtype)
    return value


@torch.no_grad()
def soft_dtw_cdist(
    u: Tensor,
    bank: AlignmentBank,
    gamma: float = 1e-3,
    *,
    lengths: Tensor | None = None,
    normalize: checks.Normalize = "none",
    backend: str = "auto",
) -> Tensor:
    """Return the soft-DTW distances D [U, G] of videos u [U, T, F] to the bank, without gradient.

    D is the sum of 1 - cosine along the soft-minimal path (may be slightly negative; it is not clamped); `normalize`
    divides it by the mean of the two lengths ("T") or their sum ("2T"). `lengths` int [U]. The row of a video does
    not depend on the other rows, bit for bit, nor on the number of threads (on a GPU that holds for `triton`; with
    `torch` the product is the vendor's).
    float32 (float64 for a float64 bank and for `reference`).
    Raises ValueError naming the argument that is wrong.
    """
    gamma = _check(u, bank, gamma, normalize)
    u_len = checks.lengths_tensor("lengths", lengths, len(u), u.shape[1], u.device)
    name = backends.resolve(backend, u.device, rows.working_dtype(bank.unit), bank.features)
    return _distances(u, u_len, bank, gamma, normalize, name)


@torch.no_grad()
def class_alignability(
    u: Tensor,
    bank: AlignmentBank,
    scorer: Scorer,
    gamma: float = 1e-3,
    *,
    lengths: Tensor | None = None,
    normalize: checks.Normalize = "none",
    backend: str = "auto",
) -> Tensor:
    """Return the mean score of each class, float32 [U, C]: mean over the class's gallery videos of scorer(D).

    `scorer` maps D to scores of the same shape, elementwise (f_S and its sigmoid). A class without a gallery video
    scores 0. Streamed: besides the result, memory holds about 2 million distances (8 million on a GPU) whatever U is.
    The scorer always sees the same shapes, so the row of a video does not depend on the other rows, bit for bit.
    A call on a GPU does not wait for it, but for the first with a bank and for `lengths` that lie there.
    """
    gamma = _check(u, bank, gamma, normalize)
    members, present = bank.members
    u_len = checks.lengths_tensor("lengths", lengths, len(u), u.shape[1], u.device)
    name = backends.resolve(backend, u.device, rows.working_dtype(bank.unit), bank.features)
    counts = present.sum(1).clamp(min=1)
    out = torch.empty(len(u), bank.n_classes, device=u.device)
    cpu = u.device.type == "cpu"
    tall = 1 if cpu else max(1, SCORE_PAIRS // len(bank))
    for chunk in _row_chunks(len(u), len(bank), tall, cpu):
        distance = _distances(u[chunk], u_len[chunk], bank, gamma, normalize, name)
        for top in range(0, len(distance), tall):
            part = distance[top : top + tall]
            padded = torch.cat((part, part.new_zeros(tall - len(part), len(bank))))
            score = torch.where(present, scorer(padded)[:, members], 0.0).sum(-1) / counts
            first = chunk.start + top
            out[first : first + len(part)] = score[: len(part)]
        del distance, part  # or two chunks would be in memory while the next is made
    return out


def _row_chunks(count: int, bank: int, tall: int, cpu: bool) -> Iterator[slice]:
    most = CHUNK_PAIRS["cpu" if cpu else "device"] // bank
    step = max(1 if cpu else LEAST_ROWS, most // tall * tall, tall)
    return (slice(first, min(first + step, count)) for first in range(0, count, step))
