"""Backend `cpu`: the compiled kernels on torch tensors. A resolved name is "cpu-" and an instruction set."""

from __future__ import annotations

import functools
import math
import warnings

import torch
from torch import Tensor

from finepseudo.soft_dtw import build

PART_BYTES = 64 << 20
"""Most that the separate gradient sums of one side may take: they are what makes threads independent."""


@functools.cache
def _best() -> tuple[str, str | None]:
    """Return the best instruction set that the compiler here knows too, and why there is none, if so."""
    reasons = []
    for isa in isas():
        try:
            build.library(isa)
        except build.BuildError as error:
            reasons.append(str(error))
        else:
            return isa, None
    return isas()[0], reasons[0]


def why_missing() -> str | None:
    """Return why the compiled code cannot be used on this machine, None if it can. Builds it on the first call."""
    return _best()[1]


@functools.cache
def available() -> bool:
    """Tell whether the compiled code can be used; if not, warn once."""
    reason = why_missing()
    if reason is not None:
        warnings.warn(f"soft-DTW runs on the slower torch backend: {reason}")
    return reason is None


def isas() -> tuple[str, ...]:
    """Name the instruction sets this processor has, best first."""
    return build.isas()


def best_isa() -> str:
    """Name the best of them that the compiler knows."""
    return _best()[0]


def _isa(backend: str) -> str:
    return backend.removeprefix("cpu-")


def _lanes(backend: str) -> int:
    return int(build.library(_isa(backend)).soft_dtw_lanes())


def _steepness(gamma: float) -> float:
    return 1.0 / (gamma * math.log(2.0))


def _check(status: int) -> None:
    if status:
        raise MemoryError("soft-DTW: no memory for the working set of a thread")


def _sorted_blocks(lengths: Tensor, lanes: int) -> tuple[Tensor, Tensor]:
    """Return the order [G] of videos by length, and the lengths of their slots, padded with 1 to whole blocks."""
    order = torch.argsort(lengths, stable=True)
    padded = torch.ones(-(-len(lengths) // lanes) * lanes, dtype=torch.int64)
    padded[: len(lengths)] = lengths[order]
    return order, padded


def _panels(rows: Tensor, slots: int, lanes: int) -> Tensor:
    """Turn rows [G, M, K] into panels [blocks, M, K, lanes], absent videos 0."""
    count, m, k = rows.shape
    if slots != count:
        rows = torch.cat((rows, rows.new_zeros(slots - count, m, k)))
    return rows.view(slots // lanes, lanes, m, k).permute(0, 2, 3, 1).contiguous()


HALF_FEATURES = {"amx": 32, "avx512bf16": 2}
"""Instruction sets with a product of bfloat16, and what F is padded to a multiple of for it."""
SPLIT = 3
"""A float32 is the sum of so many bfloat16: six products of those on the matrix unit beat one in float32 elsewhere."""
SPLIT_FRAMES = 16
"""Galleries of shorter clips leave tiles of the matrix unit partly empty."""


def _halves(rows: Tensor, parts: int, backend: str) -> Tensor:
    """Return `parts` bfloat16 that add up to each number of [.., F], part after part, as 32-bit words [.., K].

    K is parts * ceil(F / 2), F padded with zeros as the backend needs.
    """
    missing = -rows.shape[-1] % HALF_FEATURES[_isa(backend)]
    rest, found = torch.nn.functional.pad(rows, (0, missing)), []
    for _ in range(parts):
        found.append(rest.to(torch.bfloat16))
        rest = rest - found[-1].to(rest.dtype)
    return torch.cat(found, -1).contiguous().view(torch.int32)


def _split(dtype: torch.dtype, frames: int, backend: str) -> int:
    """Return how many bfloat16 stand for a number of a gallery; 0 for float32 itself."""
    isa = _isa(backend)
    if dtype == torch.bfloat16:
        return int(isa in HALF_FEATURES)
    return SPLIT if isa == "amx" and frames >= SPLIT_FRAMES else 0


def pack(unit: Tensor, lengths: Tensor, dtype: torch.dtype, backend: str) -> tuple[Tensor, Tensor]:
    """Pack unit rows [G, M, F], rounded to `dtype`, into panels; return them and the order [G] of their slots."""
    order, padded = _sorted_blocks(lengths, _lanes(backend))
    rows, parts = unit[order], _split(dtype, unit.shape[1], backend)
    return _panels(_halves(rows, parts, backend) if parts else rows, len(padded), _lanes(backend)), order


def _forward(
    u: Tensor,
    u_len: Tensor,
    panel: Tensor,
    slot_len: Tensor,
    order: Tensor,
    gamma: float,
    parts: int,
    triangle: bool,
    backend: str,
) -> Tensor:
    out = torch.empty(len(u), len(order))
    blocks, columns = panel.shape[:2]
    status = build.library(_isa(backend)).soft_dtw_forward(
        *(u.data_ptr(), u_len.data_ptr(), *u.shape, panel.data_ptr(), slot_len.data_ptr(), blocks, columns, len(order)),
        *(_steepness(gamma), parts, triangle, order.data_ptr(), out.data_ptr(), torch.get_num_threads()),
    )
    _check(status)
    return out


def against_bank(
    u: Tensor, u_len: Tensor, operand: Tensor, order: Tensor, g_len: Tensor, gamma: float, backend: str
) -> Tensor:
    """Return D [U, G] of unit rows u [U, T, F] against a packed bank, in the bank's own order."""
    _, slot_len = _sorted_blocks(g_len, _lanes(backend))
    parts = 0
    if operand.dtype == torch.int32:
        parts = operand.shape[2] // _halves(u[:0], 1, backend).shape[2]
    words = _halves(u, parts, backend) if parts else u.contiguous()
    return _forward(words, u_len, operand, slot_len, order, gamma, parts, False, backend)


def _sides(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, lanes: int) -> tuple[Tensor, ...]:
    """Return padded rows of x, their lengths, padded rows of y in slot order, slot lengths, and the order of y.

    Without y, x is put into slot order too, so that pairs on and above the diagonal of slots are all pairs.
    """
    order, slot_len = _sorted_blocks(y_len, lanes)
    missing = -x.shape[2] % lanes
    x = torch.nn.functional.pad(x, (0, missing)).contiguous()
    if y is None:
        x, x_len = x[order], x_len[order]
        other = x
    else:
        other = torch.nn.functional.pad(y, (0, missing))[order]
    return x, x_len, other, slot_len, order


def pairwise(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str) -> Tensor:
    """Return D [B, B'] of unit rows x and y; without y, D of x with itself, each unordered pair computed once."""
    lanes = _lanes(backend)
    x, x_len, other, slot_len, order = _sides(x, y, x_len, y_len, lanes)
    panel = _panels(other, len(slot_len), lanes)
    if y is not None:
        return _forward(x, x_len, panel, slot_len, order, gamma, 0, False, backend)
    upper = _forward(x, x_len, panel, slot_len, torch.arange(len(x)), gamma, 0, True, backend).triu()
    back = torch.argsort(order)
    return (upper + upper.triu(1).T)[back][:, back]


def pairwise_backward(
    grad: Tensor, x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `pairwise` for x and y (without y: its two contributions to x), recomputing."""
    lanes, features = _lanes(backend), x.shape[2]
    xs, xs_len, other, slot_len, order = _sides(x, y, x_len, y_len, lanes)
    grad = grad[:, order]
    if y is None:
        grad = grad[order]
        grad = (grad + grad.T).triu(1) + torch.diag(torch.diagonal(grad))
    slots = len(slot_len)
    xs = torch.where((grad != 0).any(1)[:, None, None], xs, 0.0)  # a video without gradient has no say, NaN neither
    other = torch.where((grad != 0).any(0)[:, None, None], other, 0.0)
    other = torch.cat((other, other.new_zeros(slots - len(order), *other.shape[1:])))
    upstream = torch.nn.functional.pad(grad, (0, slots - len(order))).contiguous()
    panel = _panels(other, slots, lanes)
    parts_u, parts_g = (_parts(n, t.numel()) for n, t in ((-(-len(xs) // lanes), other), (slots // lanes, xs)))
    grad_x, grad_y = xs.new_zeros(parts_g, *xs.shape), xs.new_zeros(parts_u, *other.shape)
    status = build.library(_isa(backend)).soft_dtw_backward(
        *(xs.data_ptr(), xs_len.data_ptr(), *xs.shape, panel.data_ptr(), slot_len.data_ptr(), *panel.shape[:2]),
        *(_steepness(gamma), other.data_ptr(), upstream.data_ptr(), parts_u, parts_g),
        *(grad_x.data_ptr(), grad_y.data_ptr(), torch.get_num_threads()),
    )
    _check(status)
    back = torch.argsort(order)
    found_y = _total(grad_y)[: len(order), :, :features][back]
    found_x = _total(grad_x)[:, :, :features]
    return found_x[back] if y is None else found_x, found_y


def _parts(most: int, numbers: int) -> int:
    """Return into how many separate sums a gradient of that many numbers goes: at most 4 and PART_BYTES in all."""
    return max(1, min(4, most, PART_BYTES // (4 * max(1, numbers))))


def _total(parts: Tensor) -> Tensor:
    """Add the parts in their order, which does not depend on threads."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total
