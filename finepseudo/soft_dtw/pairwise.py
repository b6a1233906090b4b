"""All pairs with gradient (metric learning), and one pair in full (reports and prediction)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from finepseudo.soft_dtw import backends, checks, ops, reference, rows, wavefront


def soft_dtw_pairwise(
    x: Tensor,
    y: Tensor | None = None,
    gamma: float = 1e-3,
    *,
    lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    normalize: checks.Normalize = "none",
    backend: str = "auto",
) -> Tensor:
    """Return D [B, B'] of x [B, T, F] and y [B', T', F], differentiable; without y, D [B, B] of x with itself.

    D = softDTW_gamma of the cost 1 - cosine (may be slightly negative; not clamped; D(u, u) is not 0). Without y each
    unordered pair is computed once and D is exactly symmetric. `lengths` int [B] and `y_lengths` int [B'].
    `normalize` "T" divides by the mean of the two lengths, "2T" by their sum. float32 whatever autocast says
    (float64 for float64 input); the backward pass recomputes, memory is O(B T F), but for `triton`: tables of up to 64
    frames take a launch for all pairs, whose mass, O(B B' T T'), may fill 1/32 of the device's memory.
    A pair whose gradient is exactly 0 contributes nothing, NaN neither.
    Raises ValueError naming the argument that is wrong.
    """
    checks.embeddings("x", x)
    checks.normalize_value(normalize)
    gamma = checks.gamma_value(gamma)
    other, other_lengths, name = (x, lengths, "lengths") if y is None else (y, y_lengths, "y_lengths")
    if y is None and y_lengths is not None:
        raise ValueError("y_lengths is given without y; `lengths` holds for both sides then")
    checks.embeddings("y", other)
    checks.same_features("y", other, x.shape[2], x.device)
    x_len = checks.lengths_tensor("lengths", lengths, len(x), x.shape[1], x.device)
    y_len = x_len if y is None else checks.lengths_tensor(name, other_lengths, len(other), other.shape[1], x.device)
    with torch.autocast(x.device.type, enabled=False):
        dtype = torch.promote_types(rows.working_dtype(x), rows.working_dtype(other))
        chosen = backends.resolve(backend, x.device, dtype, x.shape[2])
        left, right = x.to(dtype), None if y is None else y.to(dtype)
        value = _all_pairs(left, right, x_len, y_len, gamma, chosen)
        if normalize != "none":
            value = value / rows.path_scale(x_len, y_len, normalize).to(value.dtype)
    return value


def _all_pairs(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str) -> Tensor:
    """Return D of frames in the dtype of the recursion; tables too long for Triton take the wavefront."""
    value: Tensor
    longest = max(x.shape[1], x.shape[1] if y is None else y.shape[1])
    if backends.is_triton(backend) and longest <= backends.TRITON_LONGEST:
        pairs: Callable[..., tuple[Tensor, Tensor, Tensor]] = ops.FramePairs.apply
        if torch.compiler.is_compiling():
            pairs = ops.soft_dtw_frames
        value, _, _ = pairs(x, y, x_len, y_len, gamma)
        return value
    unit_x, unit_y = rows.unit_rows(x, x_len), None if y is None else rows.unit_rows(y, y_len)
    value = ops.soft_dtw(unit_x, unit_y, x_len, y_len, gamma, "torch" if backends.is_triton(backend) else backend)
    return value


def _one_pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    checks.embeddings("x", x, dims=2)
    checks.embeddings("y", y, dims=2)
    checks.same_features("y", y, x.shape[1], x.device)
    whole = (torch.tensor([len(x)], device=x.device), torch.tensor([len(y)], device=x.device))
    unit = [rows.unit_rows(v.detach()[None].double(), n) for v, n in zip((x, y), whole, strict=True)]
    return unit[0], unit[1]


def soft_alignment(x: Tensor, y: Tensor, gamma: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Return the cost 1 - cosine [T, T'] and the expected alignment E [T, T'] of x [T, F] and y [T', F], float64.

    E(i, j) is the probability that the path goes through the cell: 1 in the first and the last corner, T..T+T'-1 in
    sum. No gradient.
    """
    gamma = checks.gamma_value(gamma)
    unit_x, unit_y = _one_pair(x, y)
    x_len, y_len = (torch.tensor([v.shape[1]], device=x.device) for v in (unit_x, unit_y))
    rows, columns = wavefront.scaled(unit_x, gamma), wavefront.with_ones(unit_y.transpose(0, 1))
    block = wavefront.make_block(rows, columns, x_len, y_len)
    mass = wavefront.run_backward(block, block.cost.new_ones(1, 1))
    return reference.pair_cost(unit_x[0], unit_y[0]), mass[0, :, :, 0]


def hard_path(x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Return the hard DTW distance of x [T, F] and y [T', F] (cost 1 - cosine) and its path, int64 [L, 2].

    The path goes from (0, 0) to (T - 1, T' - 1); max(T, T') <= L <= T + T' - 1. Ties take the diagonal.
    """
    unit_x, unit_y = _one_pair(x, y)
    value, path = reference.hard_path(reference.pair_cost(unit_x[0], unit_y[0]))
    return value, torch.tensor(path)
