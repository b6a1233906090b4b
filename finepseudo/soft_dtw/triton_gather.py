"""The end of the Triton backward pass: gradients of a video's rows, sums over its partners in a fixed order.

The mass of a pair says how much each two frames of it count; it lies in 0..1, and the gradient of D multiplies it here.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from finepseudo.soft_dtw.triton_cells import precise_product, split, unscaled

MANY = 128
"""Partners of a video that a program looks through at once."""
WARPS, STAGES = 8, 1
"""Warps of a program, stages of its loads."""


@triton.jit
def pair_gradient(grad, lower, upper, partners, there, symmetric: tl.constexpr):
    """Return the gradient of D of pairs (lower, upper), 0 where not `there`; `symmetric`: D holds each pair twice."""
    value = tl.load(grad + lower.to(tl.int64) * partners + upper, mask=there, other=0.0)
    if symmetric:
        twice = there & (lower != upper)
        value += tl.load(grad + upper.to(tl.int64) * partners + lower, mask=twice, other=0.0)
    return value


@triton.jit
def fetch(
    grad,
    mass,
    unit,
    v,
    w,
    top,
    partners,
    n,
    m,
    features,
    ours,
    other_len,
    there,
    f,
    flip,
    symmetric: tl.constexpr,
    turned: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
):
    """Return the gradient of D of videos v and w, the mass of their frames [tall, wide] and features f of w's rows.

    Zeros if not `there`; `flip`: the mass lies turned.
    """
    i, j = tl.arange(0, tall), tl.arange(0, wide)
    lower, upper, straight, across = v, w, i[:, None] * m + j[None, :], j[None, :] * m + i[:, None]
    cells = straight
    if turned:
        lower, upper, cells = w, v, across
    if symmetric:
        lower, upper = tl.minimum(v, w), tl.maximum(v, w)
        cells = tl.where(flip, across, straight)
    theirs = there & (j < tl.load(other_len + w, mask=there, other=0))
    table = mass + ((lower - top).to(tl.int64) * partners + upper) * n * m
    weights = tl.load(table + cells, mask=ours[:, None] & theirs[None, :], other=0.0)
    row = unit + w.to(tl.int64) * (n if turned else m) * features + (j[:, None] * features + f[None, :])
    frames = tl.load(row, mask=theirs[:, None] & (f < features)[None, :], other=0.0)
    frames = tl.where(frames != frames, 0.0, frames)  # noqa: PLR0124 - NaN is in the mass where it has a say
    return pair_gradient(grad, lower, upper, partners, there, symmetric), weights, frames


@triton.jit
def following(lane, wanted, after, many: tl.constexpr):
    """Return the first of the lanes that is wanted and above `after`, or `many`."""
    return tl.min(tl.where(wanted & (lane > after), lane, many), 0)


@triton.jit
def wanted_among(grad, v, w, top, bottom, count, partners, symmetric: tl.constexpr, turned: tl.constexpr):
    """Tell of which of the videos w the pair with v lies in this part and has a gradient that is not 0."""
    lower, upper = v + w * 0, w
    if turned:
        lower, upper = w, lower
    if symmetric:
        lower, upper = tl.minimum(v, w), tl.maximum(v, w)
    inside = (w < count) & (lower >= top) & (lower < bottom)
    return pair_gradient(grad, lower, upper, partners, inside, symmetric) != 0


@triton.jit
def weighted(upstream, weights, frames, total):
    """Return total + upstream * weights @ frames, to about the bits of float32."""
    product = precise_product(split(weights), split(frames), tl.zeros_like(total))
    return total + upstream * unscaled(product)


@triton.jit(do_not_specialize=["top", "bottom", "count", "partners", "n", "m", "features"])
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
    many: tl.constexpr,
):
    """Take from the gradient `out` of a video's rows what the mass of its pairs with the other side's rows comes to.

    out is of x, [.., n, F], and unit of y, [count, m, F]; `turned` the other way round, [.., m, F] and [count, n, F].
    The pairs are those of videos top..bottom - 1 of x, in rows of `partners`; with 0 for `top` out is set. Only those
    whose gradient is not 0 are looked at, `many` of them at a time; what the next one needs is on its way meanwhile.
    """
    v, f = tl.program_id(0), tl.program_id(1) * depth + tl.arange(0, depth)
    i, lane = tl.arange(0, tall), tl.arange(0, many)
    own = m if turned else n
    ours = i < tl.load(own_len + v)
    total = tl.zeros([tall, depth], tl.float32)
    for first in range(0, count, many):
        wanted = wanted_among(grad, v, first + lane, top, bottom, count, partners, symmetric, turned)
        at = following(lane, wanted, -1, many)
        upstream, weights, frames = fetch(
            *(grad, mass, unit, v, first + at, top, partners, n, m, features, ours, other_len, at < many, f),
            *(v > first + at, symmetric, turned, tall, wide),
        )
        while at < many:
            at = following(lane, wanted, at, many)
            then = fetch(
                *(grad, mass, unit, v, first + at, top, partners, n, m, features, ours, other_len, at < many, f),
                *(v > first + at, symmetric, turned, tall, wide),
            )
            total = weighted(upstream, weights, frames, total)
            upstream, weights, frames = then
    if symmetric:  # a video with itself is on both sides
        itself = (v >= top) & (v < bottom)
        itself &= tl.load(grad + v.to(tl.int64) * partners + v, mask=itself, other=0.0) != 0
        upstream, weights, frames = fetch(
            *(grad, mass, unit, v, v, top, partners, n, m, features, ours, other_len, itself, f),
            *(True, symmetric, turned, tall, wide),
        )
        total = weighted(upstream, weights, frames, total)
    to = out + v.to(tl.int64) * own * features + (i[:, None] * features + f[None, :])
    inside = (i < own)[:, None] & (f < features)[None, :]
    tl.store(to, tl.load(to, mask=inside & (top > 0), other=0.0) - total, mask=inside)


def table_shape(x: Tensor, y: Tensor) -> dict[str, int]:
    """Return rows and columns of the tables of x [.., N, F] and y [.., M, F], padded to what programs take."""
    tall, wide = (max(16, triton.next_power_of_2(side.shape[1])) for side in (x, y))
    return {"tall": tall, "wide": wide}


def gather_shape(tall: int, wide: int) -> dict[str, int]:
    """Return the shape of a program of `gather_rows`: long tables leave registers for fewer features."""
    depth = 64 if max(tall, wide) <= 32 else 16
    return {"depth": depth, "many": MANY, "num_warps": WARPS, "num_stages": STAGES}


def gather(
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
    """Launch `gather_rows` for the pairs of videos part[0]..part[1] - 1 of x; `table`: frames of x and of y."""
    shape, features = table_shape(out, unit), out.shape[2]
    shape |= gather_shape(**shape)
    gather_rows[(len(out), triton.cdiv(features, shape["depth"]))](
        *(grad, mass, unit, out, own_len, other_len, *part, len(unit), grad.shape[1], *table, features),
        symmetric=symmetric,
        turned=turned,
        **shape,
    )
