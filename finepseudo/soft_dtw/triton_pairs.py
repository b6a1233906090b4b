"""Backend `triton` for training: all pairs forward and backward in a launch each, whatever the batch.

A program takes one video of x and a few of y. Rows of a table are lanes: the anti-diagonals of the pairs' tables are
walked side by side, a shift by one lane hands the upper and the diagonal predecessor on. The costs lie skewed,
anti-diagonal by anti-diagonal, in memory of the program's own. The backward pass recomputes, keeps the shares of the
predecessors of every cell and pushes the mass back; gradients of the rows are then sums over the partners of a video,
in a fixed order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from finepseudo.soft_dtw import wavefront
from finepseudo.soft_dtw.triton_gather import gather, pair_gradient, table_shape
from finepseudo.soft_dtw.triton_rows import gpu_of
from finepseudo.soft_dtw.triton_walk import spread_costs, walk_backward, walk_forward

LANES = 128
"""Rows of all tables of a program: a cell of an anti-diagonal for each thread of four warps."""
DEPTH, BREADTH, WARPS, STAGES = 16, 64, 4, 1
"""Features and columns of one product, warps of a program, stages of its loads; more of any takes registers."""
PROGRAMS = 4
"""Programs on a multiprocessor of a Hopper GPU, of 128 registers a thread."""
MASS_SHARE = 32
"""A launch of the backward pass keeps the mass of its pairs within this part of the device's memory."""

RUN_TIME = ["count", "partners", "n", "m", "features", "top", "bottom", "chunk"]


@triton.jit
def block_at(number, count, blocks, pairs: tl.constexpr, symmetric: tl.constexpr):
    """Return a block's video of x (`count` or more: there is none) and its first of y.

    `symmetric`: of the blocks that hold a pair on or above the diagonal, [pairs, 2 pairs, ..] in the columns of blocks;
    the first column and the last lie in one row, the second and the last but one in the next.
    """
    if not symmetric:
        return number // blocks, number % blocks * pairs
    row, place = number // ((blocks + 1) * pairs), number % ((blocks + 1) * pairs)
    shorter = (row + 1) * pairs
    column = tl.where(place < shorter, row, blocks - 1 - row)
    u = tl.where(place < shorter, place, place - shorter)
    return tl.where((place >= shorter) & (column == row), count, u), column * pairs


@triton.jit
def block_count(count, blocks, pairs: tl.constexpr, symmetric: tl.constexpr):
    """Return the numbers that `block_at` takes."""
    return tl.cdiv(blocks, 2) * (blocks + 1) * pairs if symmetric else count * blocks


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
    breadth: tl.constexpr,
    native: tl.constexpr,
):
    """Write D [count, partners] of unit rows x [count, n, F] and y [partners, m, F]; `symmetric`: y is x."""
    blocks = tl.cdiv(partners, pairs)
    mine = costs + tl.program_id(0).to(tl.int64) * (pairs * (tall + wide) * tall)
    for number in range(tl.program_id(0), block_count(count, blocks, pairs, symmetric), tl.num_programs(0)):
        u, w = block_at(number, count, blocks, pairs, symmetric)
        if u < count:
            spread_costs(x, y, mine, u, w, partners, n, m, features, steepness, tall, wide, pairs, depth, breadth)
            other = w + tl.arange(0, pairs)
            there = (other < partners) & ((other >= u) if symmetric else (other >= 0))
            columns = tl.load(y_len + other, mask=there, other=1).to(tl.int32)
            rows = tl.load(x_len + u).to(tl.int32)
            value = walk_forward(mine, mine, rows, columns, steepness, border, False, tall, wide, pairs, native) * unit
            value = value.to(tl.float32)
            tl.store(out + u.to(tl.int64) * partners + other, value, mask=there)
            if symmetric:
                tl.store(out + other.to(tl.int64) * partners + u, value, mask=there)
            tl.debug_barrier()  # the costs may be overwritten


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
    count,
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
    breadth: tl.constexpr,
    native: tl.constexpr,
):
    """Write the mass [bottom - top, partners, n, m] of the pairs of videos top..bottom - 1 of x whose grad is not 0.

    Of D itself: what `grad` makes of it is for `gather_rows`, so that mass lies in 0..1.
    """
    blocks = tl.cdiv(partners, pairs)
    costs += tl.program_id(0).to(tl.int64) * (pairs * (tall + wide) * tall)
    shares += tl.program_id(0).to(tl.int64) * (pairs * (tall + wide) * tall * 2)
    for number in range(tl.program_id(0), block_count(count, blocks, pairs, symmetric), tl.num_programs(0)):
        u, w = block_at(number, count, blocks, pairs, symmetric)
        other = w + tl.arange(0, pairs)
        there = (other < partners) & (u >= top) & (u < bottom) & ((other >= u) if symmetric else (other >= 0))
        upstream = pair_gradient(grad, u + other * 0, other, partners, there, symmetric)
        if tl.max((upstream != 0).to(tl.int32), 0) > 0:
            spread_costs(x, y, costs, u, w, partners, n, m, features, steepness, tall, wide, pairs, depth, breadth)
            columns = tl.load(y_len + other, mask=there, other=1).to(tl.int32)
            rows = tl.load(x_len + u).to(tl.int32)
            walk_forward(costs, shares, rows, columns, steepness, border, True, tall, wide, pairs, native)
            tl.debug_barrier()
            to = mass + ((u - top).to(tl.int64) * partners + other) * n * m
            walk_backward(shares, to[:, None], upstream != 0, rows, columns, m, tall, wide, pairs)
            tl.debug_barrier()  # costs and shares may be overwritten


def walk_shape(tall: int, wide: int) -> dict[str, int]:
    """Return the shape of a program of `align` and `push_back`."""
    pairs = LANES // tall
    return {
        "pairs": pairs,
        "depth": DEPTH,
        "breadth": min(BREADTH, pairs * wide),
        "num_warps": WARPS,
        "num_stages": STAGES,
    }


def _blocks(count: int, partners: int, pairs: int, symmetric: bool) -> int:
    """Count the blocks of pairs: see `block_count`."""
    blocks = -(-partners // pairs)
    return -(-blocks // 2) * (blocks + 1) * pairs if symmetric else count * blocks


def _programs(device: torch.device, blocks: int) -> int:
    """Return how many programs a launch has for that many blocks of pairs; their scratch memory grows with it."""
    if device.type != "cuda":
        return min(blocks, 2)
    return min(blocks, PROGRAMS * int(gpu_of(device).multi_processor_count))


def rectangle(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float) -> Tensor:
    """Return D [U, G] of unit rows x [U, N, F] and y [G, M, F]; without y D [U, U] of x with itself."""
    other = x if y is None else y
    out, shape, unit = x.new_empty(len(x), len(other)), table_shape(x, other), gamma * wavefront.LN2
    if not out.numel():
        return out
    shape |= walk_shape(**shape)
    pairs = shape["pairs"]
    programs = _programs(x.device, _blocks(len(x), len(other), pairs, y is None))
    costs = x.new_empty(programs * pairs * (shape["tall"] + shape["wide"]) * shape["tall"])
    align[(programs,)](
        *(x, other, x_len, y_len, out, costs, len(x), len(other), x.shape[1], other.shape[1], x.shape[2]),
        *(1.0 / unit, unit, wavefront.BORDER),
        symmetric=y is None,
        native=x.is_cuda,
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
    shape, (n, f), m = table_shape(x, other), x.shape[1:], other.shape[1]
    shape |= walk_shape(**shape)
    pairs = shape["pairs"]
    step = max(1, min(len(x), _mass_cells(x.device) // (len(other) * n * m)))
    programs = _programs(x.device, _blocks(len(x), len(other), pairs, y is None))
    costs = x.new_empty(3, programs * pairs * (shape["tall"] + shape["wide"]) * shape["tall"])
    mass = x.new_empty(step * len(other) * n * m)
    for top in range(0, len(x), step):
        part = (top, min(top + step, len(x)))
        push_back[(programs,)](
            *(grad, x, other, x_len, y_len, mass, costs[0], costs[1:], len(x), *part, len(other), n, m, f),
            *(1.0 / (gamma * wavefront.LN2), wavefront.BORDER),
            symmetric=y is None,
            native=x.is_cuda,
            **shape,
        )
        gather(grad, mass, other, grad_x, x_len, y_len, part, (n, m), y is None, False)
        if y is not None:
            gather(grad, mass, x, grad_y, y_len, x_len, part, (n, m), False, True)
    return grad_x, grad_y


def _mass_cells(device: torch.device) -> int:
    if device.type != "cuda":
        return 1 << 12  # interpreted: several launches here too
    return int(gpu_of(device).total_memory) // MASS_SHARE // 4
