"""How a program of `triton_pairs` walks the tables of a few pairs: skewed costs, anti-diagonals forward and back."""

from __future__ import annotations

import triton
import triton.language as tl

from finepseudo.soft_dtw.triton_cells import logarithm, power, precise_product, split, unscaled


@triton.jit
def spread_costs(
    x,
    y,
    costs,
    u,
    w,
    partners,
    n,
    m,
    features,
    steepness,
    tall: tl.constexpr,
    wide: tl.constexpr,
    pairs: tl.constexpr,
    depth: tl.constexpr,
    breadth: tl.constexpr,
):
    """Write the costs, less `steepness`, of video u of x with w..w + pairs - 1 of y, [pairs, tall + wide, tall].

    Cell i, j lies at i + j, i. What is left out is as large as all the rest, and would cost it three bits.
    """
    i, c, k = tl.arange(0, tall), tl.arange(0, breadth), tl.arange(0, depth)
    row = x + u.to(tl.int64) * n * features + (i[:, None] * features + k[None, :])
    for start in range(0, pairs * wide, breadth):
        pair, j = (start + c) // wide, (start + c) % wide
        inside = (j < m) & (w + pair < partners)
        column = y + w.to(tl.int64) * m * features + ((pair * m + j)[None, :] * features + k[:, None])
        cosines = tl.zeros([tall, breadth], tl.float32)
        for first in range(0, features, depth):
            deep = first + k < features
            left = tl.load(row + first, mask=(i < n)[:, None] & deep[None, :], other=0.0)
            right = tl.load(column + first, mask=inside[None, :] & deep[:, None], other=0.0)
            # added here: tensor cores cut off what a long sum of theirs cannot hold, an addition rounds
            cosines += unscaled(precise_product(split(left), split(right), tl.zeros_like(cosines)))
        skewed = (pair * (tall + wide) + j)[None, :] * tall + (i * (tall + 1))[:, None]
        tl.store(costs + skewed, -steepness * cosines)
    tl.debug_barrier()  # other threads read them


@triton.jit
def shifted(lanes, by: tl.constexpr, beyond, pairs: tl.constexpr, tall: tl.constexpr):
    """Return what lies `by` lanes on in [pairs, tall], `beyond` past the ends."""
    i = tl.arange(0, tall)[None, :] + tl.zeros([pairs, 1], tl.int32)
    moved = tl.gather(lanes, tl.minimum(tl.maximum(i + by, 0), tall - 1), 1)
    return tl.where((i + by >= 0) & (i + by < tall), moved, beyond)


@triton.jit
def smaller(a, b):
    """Return the minimum of float64, which has no instruction; NaN spreads."""
    return tl.where((a < b) | (a != a), a, b)  # noqa: PLR0124


@triton.jit
def soft_minimum(up, left, corner, native: tl.constexpr):
    """Return -log2(2^-up + 2^-left + 2^-corner) of float64 and the shares of up and left in that sum; NaN spreads."""
    least = smaller(smaller(up, left), corner)
    a, b = power((least - up).to(tl.float32), native), power((least - left).to(tl.float32), native)
    total = a + b + power((least - corner).to(tl.float32), native)
    share = 1.0 / total
    return least - logarithm(total, native).to(tl.float64), a * share, b * share


@triton.jit
def walk_forward(
    costs,
    shares,
    rows,
    columns,
    steepness,
    border,
    keep: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
    pairs: tl.constexpr,
    native: tl.constexpr,
):
    """Return R at the end of each pair, float64 [pairs], of tables of `rows` and [pairs] `columns`.

    R is float64 all the way: a GPU of Hopper's kind adds it at half the rate, and float32 would need the least of each
    anti-diagonal taken off, a sum over lanes at every step.

    `keep` writes the shares of the upper and the left predecessor, [pairs, tall + wide, 2, tall].
    """
    p, i = tl.arange(0, pairs)[:, None], tl.arange(0, tall)[None, :]
    here = tl.zeros([pairs, tall], tl.float64) + border
    corner = tl.where((i == 0) & (p >= 0), 0.0, here)  # the diagonal predecessor of the first cell
    found = tl.zeros([pairs, tall], tl.float64)
    cells = (i < tl.minimum(rows, 1)) & (columns[:, None] > 0)
    cost = tl.load(costs + p * ((tall + wide) * tall) + i, mask=cells, other=0.0)
    for d in range(rows + tl.max(columns, 0) - 1):
        next_cells = (i < rows) & (d + 1 >= i) & (d + 1 - i < columns[:, None])
        next_cost = tl.load(costs + (p * (tall + wide) + d + 1) * tall + i, mask=next_cells, other=0.0)
        up = shifted(here, -1, border, pairs, tall)
        least, a, b = soft_minimum(up, here, corner, native)
        if keep:
            kept = shares + (p * (tall + wide) + d) * (2 * tall) + i
            tl.store(kept, a, mask=cells)
            tl.store(kept + tall, b, mask=cells)
        here = tl.where(cells, steepness + cost.to(tl.float64) + least, border)
        corner = up
        found = tl.where((i == rows - 1) & (d - i == columns[:, None] - 1), here, found)
        cells, cost = next_cells, next_cost
    return tl.sum(found, 1)


@triton.jit
def walk_backward(
    shares,
    mass,
    wanted,
    rows,
    columns,
    m,
    tall: tl.constexpr,
    wide: tl.constexpr,
    pairs: tl.constexpr,
):
    """Write the mass d R / d cost of each `wanted` pair to the rows [n, m] that its mass [pairs, 1] points to."""
    p, i = tl.arange(0, pairs)[:, None], tl.arange(0, tall)[None, :]
    arriving, late = tl.zeros([pairs, tall], tl.float32), tl.zeros([pairs, tall], tl.float32)
    steps = rows + tl.max(columns, 0) - 1
    inside = (i < rows) & wanted[:, None]
    kept = shares + (p * (tall + wide) + steps - 1) * (2 * tall) + i
    cells = inside & (steps - 1 >= i) & (steps - 1 - i < columns[:, None])
    up_share, left_share = tl.load(kept, mask=cells, other=0.0), tl.load(kept + tall, mask=cells, other=0.0)
    for back in range(steps):
        d = steps - 1 - back
        next_cells = inside & (d - 1 >= i) & (d - 1 - i < columns[:, None])
        kept -= 2 * tall
        next_up, next_left = tl.load(kept, mask=next_cells, other=0.0), tl.load(kept + tall, mask=next_cells, other=0.0)
        last = (i == rows - 1) & (d - i == columns[:, None] - 1)
        here = tl.where(last, arriving + 1.0, arriving)
        tl.store(mass + i * m + (d - i), here, mask=cells)
        up, left = tl.where(cells, here * up_share, 0.0), tl.where(cells, here * left_share, 0.0)
        arriving = left + shifted(up + late, 1, 0.0, pairs, tall)
        late = tl.where(cells, here - up - left, 0.0)
        cells, up_share, left_share = next_cells, next_up, next_left
