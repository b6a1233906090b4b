"""Backend `triton` for training: all pairs forward and backward in a launch each, whatever the batch.

A program takes one video of x and a few of y. Rows of a table are lanes: the anti-diagonals of the pairs' tables are
walked side by side, a shift by one lane hands the upper and the diagonal predecessor on. The costs lie skewed,
anti-diagonal by anti-diagonal, in memory of the program's own. The backward pass recomputes, keeps the shares of the
predecessors of every cell and pushes the mass back; gradients of the rows are then sums over the partners of a video,
in a fixed order. R is taken relative to the least cell of each anti-diagonal: rounding grows with R.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from finepseudo.soft_dtw import wavefront
from finepseudo.soft_dtw.triton_walk import spread_costs, walk_backward, walk_forward

LONGEST = 64
"""Frames of the longest video: longer tables do not fit into the registers of a program (`wavefront` does them)."""
LANES = 128
"""Rows of all tables of a program: a cell of an anti-diagonal for each thread of four warps."""
DEPTH, WARPS, PROGRAMS = 32, 4, 2
"""Features (and columns) of one product, warps of a program, programs on a multiprocessor."""
MASS_SHARE = 32
"""A launch of the backward pass keeps the mass of its pairs within this part of the device's memory."""

RUN_TIME = ["count", "partners", "n", "m", "features", "top", "bottom", "chunk"]


@triton.jit(do_not_specialize=RUN_TIME)
def align(
    x,
    y,
    x_len,
    y_len,
    out,
    costs,
    count,
    partners,
    n,
    m,
    features,
    steepness,
    unit,
    border,
    symmetric: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
    pairs: tl.constexpr,
    depth: tl.constexpr,
    native: tl.constexpr,
):
    """Write D [count, partners] of unit rows x [count, n, F] and y [partners, m, F]; `symmetric`: y is x."""
    blocks = tl.cdiv(partners, pairs)
    mine = costs + tl.program_id(0).to(tl.int64) * (pairs * (tall + wide) * tall)
    for block in range(tl.program_id(0), count * blocks, tl.num_programs(0)):
        u, w = block // blocks, block % blocks * pairs
        if (not symmetric) or (w + pairs > u):
            spread_costs(x, y, mine, u, w, partners, n, m, features, steepness, tall, wide, pairs, depth)
            other = w + tl.arange(0, pairs)
            there = (other < partners) & ((other >= u) if symmetric else (other >= 0))
            columns = tl.load(y_len + other, mask=there, other=1).to(tl.int32)
            rows = tl.load(x_len + u).to(tl.int32)
            value = walk_forward(mine, mine, rows, columns, border, False, tall, wide, pairs, native) * unit
            value = value.to(tl.float32)
            tl.store(out + u.to(tl.int64) * partners + other, value, mask=there)
            if symmetric:
                tl.store(out + other.to(tl.int64) * partners + u, value, mask=there)
            tl.debug_barrier()  # the costs may be overwritten


@triton.jit
def pair_gradient(grad, lower, upper, partners, there, symmetric: tl.constexpr):
    """Return the gradient of D of pairs (lower, upper), 0 where not `there`; `symmetric`: D holds each pair twice."""
    value = tl.load(grad + lower.to(tl.int64) * partners + upper, mask=there, other=0.0)
    if symmetric:
        twice = there & (lower != upper)
        value += tl.load(grad + upper.to(tl.int64) * partners + lower, mask=twice, other=0.0)
    return value


@triton.jit(do_not_specialize=RUN_TIME)
def push_back(
    grad,
    x,
    y,
    x_len,
    y_len,
    mass,
    costs,
    shares,
    top,
    bottom,
    partners,
    n,
    m,
    features,
    steepness,
    border,
    symmetric: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
    pairs: tl.constexpr,
    depth: tl.constexpr,
    native: tl.constexpr,
):
    """Write the mass [bottom - top, partners, n, m] of the pairs of videos top..bottom - 1 of x whose grad is not 0."""
    blocks = tl.cdiv(partners, pairs)
    costs += tl.program_id(0).to(tl.int64) * (pairs * (tall + wide) * tall)
    shares += tl.program_id(0).to(tl.int64) * (pairs * (tall + wide) * tall * 2)
    for block in range(tl.program_id(0), (bottom - top) * blocks, tl.num_programs(0)):
        u, w = top + block // blocks, block % blocks * pairs
        other = w + tl.arange(0, pairs)
        there = (other < partners) & ((other >= u) if symmetric else (other >= 0))
        upstream = pair_gradient(grad, u + other * 0, other, partners, there, symmetric)
        if tl.max((upstream != 0).to(tl.int32), 0) > 0:
            spread_costs(x, y, costs, u, w, partners, n, m, features, steepness, tall, wide, pairs, depth)
            columns = tl.load(y_len + other, mask=there, other=1).to(tl.int32)
            rows = tl.load(x_len + u).to(tl.int32)
            walk_forward(costs, shares, rows, columns, border, True, tall, wide, pairs, native)
            tl.debug_barrier()
            to = mass + ((u - top).to(tl.int64) * partners + other) * n * m
            walk_backward(shares, to[:, None], upstream, rows, columns, m, tall, wide, pairs)
            tl.debug_barrier()  # costs and shares may be overwritten


@triton.jit(do_not_specialize=RUN_TIME)
def gather_rows(
    grad,
    mass,
    unit,
    out,
    own_len,
    other_len,
    top,
    bottom,
    count,
    partners,
    n,
    m,
    features,
    symmetric: tl.constexpr,
    turned: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
    depth: tl.constexpr,
):
    """Take from the gradient `out` of a video's rows what the mass of its pairs with the other side's rows comes to.

    out is of x, [.., n, F], and unit of y, [count, m, F]; `turned` the other way round, [.., m, F] and [count, n, F].
    The pairs are those of videos top..bottom - 1 of x, in rows of `partners`; with 0 for `top` out is set.
    """
    v, f = tl.program_id(0), tl.program_id(1) * depth + tl.arange(0, depth)
    i, j = tl.arange(0, tall), tl.arange(0, wide)
    if turned:
        own, others = m, n
    else:
        own, others = n, m
    ours, straight, across = i < tl.load(own_len + v), i[:, None] * m + j[None, :], j[None, :] * m + i[:, None]
    total = tl.zeros([tall, depth], tl.float32)
    for number in range(0, count):
        w = number + v * 0  # a tensor in the interpreter too
        lower, upper, cells = v, w, straight
        if turned:
            lower, upper, cells = w, v, across
        if symmetric:
            lower, upper = tl.minimum(v, w), tl.maximum(v, w)
            cells = tl.where(v > w, across, straight)
        there = (lower >= top) & (lower < bottom)
        there &= pair_gradient(grad, lower, upper, partners, there, symmetric) != 0
        theirs = there & (j < tl.load(other_len + w))
        table = mass + ((lower - top).to(tl.int64) * partners + upper) * n * m
        both = ours[:, None] & theirs[None, :]
        weights = tl.load(table + cells, mask=both, other=0.0)
        if symmetric:  # a video with itself is on both sides
            weights += tl.load(table + across, mask=both & (v == w), other=0.0)
        row = unit + w.to(tl.int64) * others * features + (j[:, None] * features + f[None, :])
        frames = tl.load(row, mask=theirs[:, None] & (f < features)[None, :], other=0.0)
        frames = tl.where(frames != frames, 0.0, frames)  # noqa: PLR0124 - NaN is in the mass where it has a say
        total = tl.dot(weights, frames, total, input_precision="tf32x3")
    to = out + v.to(tl.int64) * own * features + (i[:, None] * features + f[None, :])
    inside = (i < own)[:, None] & (f < features)[None, :]
    tl.store(to, tl.load(to, mask=inside & (top > 0), other=0.0) - total, mask=inside)


def fits(n: int, m: int) -> bool:
    """Tell whether tables of n x m fit."""
    return max(n, m) <= LONGEST


def _shape(x: Tensor, y: Tensor) -> dict[str, int]:
    tall, wide = (max(16, triton.next_power_of_2(side.shape[1])) for side in (x, y))
    return {"tall": tall, "wide": wide, "depth": DEPTH}


def pairs_of(shape: dict[str, int]) -> int:
    """Return the pairs of a program; a multiple of `DEPTH` columns."""
    return max(2 if shape["wide"] == 16 else 1, LANES // shape["tall"])


def gather_shape(shape: dict[str, int]) -> dict[str, int]:
    """Return the shape of a program of `gather_rows`: long tables need more warps and fewer features at once."""
    few = max(shape["tall"], shape["wide"]) <= 32
    return shape | {"depth": DEPTH if few else DEPTH // 2, "num_warps": WARPS if few else 2 * WARPS}


def _programs(device: torch.device, blocks: int) -> int:
    """Return how many programs a launch has for that many blocks of pairs; their scratch memory grows with it."""
    if device.type != "cuda":
        return min(blocks, 2)
    return min(blocks, PROGRAMS * int(torch.cuda.get_device_properties(device).multi_processor_count))


def rectangle(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float) -> Tensor:
    """Return D [U, G] of unit rows x [U, N, F] and y [G, M, F]; without y D [U, U] of x with itself."""
    other = x if y is None else y
    out, shape, unit = x.new_empty(len(x), len(other)), _shape(x, other), gamma * wavefront.LN2
    if not out.numel():
        return out
    pairs = pairs_of(shape)
    programs = _programs(x.device, len(x) * triton.cdiv(len(other), pairs))
    costs = x.new_empty(programs * pairs * (shape["tall"] + shape["wide"]) * shape["tall"])
    align[(programs,)](
        *(x, other, x_len, y_len, out, costs, len(x), len(other), x.shape[1], other.shape[1], x.shape[2]),
        *(1.0 / unit, unit, wavefront.BORDER),
        symmetric=y is None,
        native=x.is_cuda,
        pairs=pairs,
        num_warps=WARPS,
        **shape,
    )
    return out


def rectangle_backward(
    grad: Tensor, x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `rectangle` for x and y (empty without y), given grad [U, G]."""
    other = x if y is None else y
    grad_x, grad_y = torch.empty_like(x), x.new_empty(0) if y is None else torch.empty_like(y)
    if not grad.numel():
        return grad_x.zero_(), grad_y.zero_()
    shape, (n, f), m = _shape(x, other), x.shape[1:], other.shape[1]
    pairs = pairs_of(shape)
    step = max(1, min(len(x), _mass_cells(x.device) // (len(other) * n * m)))
    programs = _programs(x.device, step * triton.cdiv(len(other), pairs))
    costs = x.new_empty(3, programs * pairs * (shape["tall"] + shape["wide"]) * shape["tall"])
    mass = x.new_empty(step * len(other) * n * m)
    for top in range(0, len(x), step):
        part = (top, min(top + step, len(x)))
        push_back[(programs,)](
            *(grad, x, other, x_len, y_len, mass, costs[0], costs[1:], *part, len(other), n, m, f),
            *(1.0 / (gamma * wavefront.LN2), wavefront.BORDER),
            symmetric=y is None,
            native=x.is_cuda,
            pairs=pairs,
            num_warps=WARPS,
            **shape,
        )
        _gather(grad, mass, other, grad_x, x_len, y_len, part, (n, m), y is None, False)
        if y is not None:
            _gather(grad, mass, x, grad_y, y_len, x_len, part, (n, m), False, True)
    return grad_x, grad_y


def _gather(
    grad: Tensor,
    mass: Tensor,
    unit: Tensor,
    out: Tensor,
    own_len: Tensor,
    other_len: Tensor,
    part: tuple[int, int],
    table: tuple[int, int],
    symmetric: bool,
    turned: bool,
) -> None:
    shape, features = gather_shape(_shape(out, unit)), out.shape[2]
    gather_rows[(len(out), triton.cdiv(features, shape["depth"]))](
        *(grad, mass, unit, out, own_len, other_len, *part, len(unit), grad.shape[1], *table, features),
        symmetric=symmetric,
        turned=turned,
        **shape,
    )


def _mass_cells(device: torch.device) -> int:
    if device.type != "cuda":
        return 1 << 12  # interpreted: several launches here too
    return int(torch.cuda.get_device_properties(device).total_memory) // MASS_SHARE // 4
