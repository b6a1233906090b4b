"""Backend `torch`: anti-diagonals with the pairs innermost, on any device, without a compiler.

A block is b videos of x against G of y. Its cost lies as [b, N, M, G], so the cells of one anti-diagonal are a strided
view [k, b, G] of it and every step is elementwise over pairs. All values are in units of gamma ln 2, so that the
soft minimum is one of powers of two: exp2 stays fast where exp underflows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LN2 = math.log(2.0)
BORDER = 1e10
"""R outside the table, in those units: 2^-BORDER is 0 and, unlike infinity, differences of borders are not NaN."""
REBASE = 4
"""Anti-diagonals between two shifts of the origin of R."""
CPU_LANES = 4096
"""Pairs a step on a CPU: enough to hide the cost of a call, few enough for the caches."""
DEVICE_CELLS = 1 << 26
"""Cells of cost a block may have on other devices (256 MiB in float32)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """The scaled cost [b, N, M, G] of some pairs and the lengths of their two sides, [b] and [G]."""

    cost: Tensor
    x_len: Tensor
    y_len: Tensor

    def diagonal(self, of: Tensor, d: int) -> tuple[Tensor, int, int]:
        """View the cells i + j = d of a tensor laid out like the cost as [k, b, G]; give the rows lo:hi they span."""
        b, n, m, g = of.shape
        lo, hi = max(0, d - m + 1), min(n, d + 1)
        stride = ((m - 1) * g, n * m * g, 1)
        return of.as_strided((hi - lo, b, g), stride, of.storage_offset() + (lo * m + d - lo) * g), lo, hi

    def ends(self) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """Map each anti-diagonal on which pairs end to those pairs: row of the end, index in b, index in G."""
        last = self.x_len[:, None] + self.y_len[None, :] - 2
        found = {}
        for d in torch.unique(last).tolist():
            p, q = (last == d).nonzero(as_tuple=True)
            found[d] = (self.x_len[p] - 1, p, q)
        return found


def soft_min(up: Tensor, left: Tensor, diagonal: Tensor) -> Tensor:
    """Return -log2(2^-up + 2^-left + 2^-diagonal) with two powers: the least of the three gives 2^0."""
    low, high = torch.minimum(up, left), torch.maximum(up, left)
    least = torch.minimum(low, diagonal)
    total = torch.sub(least, high, out=high).exp2_()
    total.add_(torch.sub(least, torch.maximum(low, diagonal), out=low).exp2_()).add_(1.0)
    return least.sub_(total.log2_())


def shares(up: Tensor, left: Tensor, diagonal: Tensor) -> Tensor:
    """Return the softmax of the negated predecessors in base 2, [3, ...]; it sums to one."""
    least = torch.minimum(torch.minimum(up, left), diagonal)
    powers = torch.stack((up, left, diagonal)).sub_(least).neg_().exp2_()
    return powers.div_(powers.sum(0))


def run_forward(block: Block, keep: bool) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Return R at the end of each pair, [b, G], and (if `keep`) what each anti-diagonal was computed from.

    That is R of the two anti-diagonals before it, [N + 1, b, G] each: row i of the table is row i + 1, row 0 is the
    border. Every few steps both are taken relative to a cell in the middle, since rounding grows with R.
    """
    cost = block.cost
    b, n, m, g = cost.shape
    out, ends, kept = cost.new_empty(b, g, dtype=torch.float64), block.ends(), []
    before = cost.new_full((n + 1, b, g), BORDER)
    here, base = before.clone(), torch.zeros_like(out)
    before[0] = 0.0  # R(0, 0): the diagonal predecessor of the first cell
    for d in range(n + m - 1):
        cells, lo, hi = block.diagonal(cost, d)
        if d and d % REBASE == 0:
            middle = here[(max(0, d - m) + min(n, d) - 1) // 2 + 1]
            base += middle
            here, before = here - middle, before - middle
        if keep:
            kept.append((here, before))
        after = cost.new_full((n + 1, b, g), BORDER)
        torch.add(soft_min(here[lo:hi], here[lo + 1 : hi + 1], before[lo:hi]), cells, out=after[lo + 1 : hi + 1])
        if d in ends:
            row, p, q = ends[d]
            out[p, q] = after[row + 1, p, q] + base[p, q]
        before, here = here, after
    return out, kept


def run_backward(block: Block, grad: Tensor) -> Tensor:
    """Return the mass E = d sum(grad R)/d cost, [b, N, M, G], for grad [b, G].

    Each cell hands its mass to its three predecessors in proportion to their softmax weights, which sum to one; the
    usual exp((R_next - R - cost)/gamma) would subtract large rounded numbers instead. Pairs with grad 0 get 0.
    """
    cost = block.cost
    b, n, m, g = cost.shape
    _, kept = run_forward(block, keep=True)
    ends, mass, live = block.ends(), torch.zeros_like(cost), grad != 0
    inbox, later = cost.new_zeros(n + 1, b, g), cost.new_zeros(n + 1, b, g)  # of diagonals d and d - 1
    for d in range(n + m - 2, -1, -1):
        if d in ends:
            row, p, q = ends[d]
            inbox[row + 1, p, q] += grad[p, q]
        cells, lo, hi = block.diagonal(mass, d)
        here = inbox[lo + 1 : hi + 1]
        cells.copy_(here)
        one, two = kept.pop()
        weights = shares(one[lo:hi], one[lo + 1 : hi + 1], two[lo:hi])
        weights = torch.where(live, weights.mul_(here), 0.0)
        following = cost.new_zeros(n + 1, b, g)
        later[lo:hi] += weights[0]
        later[lo + 1 : hi + 1] += weights[1]
        following[lo:hi] += weights[2]
        inbox, later = later, following
    return mass


def make_block(x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float) -> Block:
    """Build the block of unit rows x [b, N, F] and y, time-major [M, G, F].

    On a CPU there is one product for each video of x, so that its rounding cannot depend on its neighbours.
    """
    b, n, f = x.shape
    m, g, _ = y.shape
    columns = y.reshape(m * g, f).T
    cost = x.new_empty(b, n, m * g)
    if x.device.type == "cpu":
        for row in range(b):
            torch.mm(x[row], columns, out=cost[row])
    else:
        torch.matmul(x, columns, out=cost)
    cost.sub_(1.0).mul_(-1.0 / (gamma * LN2))
    return Block(cost=cost.view(b, n, m, g), x_len=x_len, y_len=y_len)


def tiles(x: Tensor, y: Tensor, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    """Cut x [U, N, F] against y [M, G, F] into blocks; `symmetric` leaves out those wholly below the diagonal."""
    u, n, _ = x.shape
    m, g, _ = y.shape
    lanes = CPU_LANES if x.device.type == "cpu" else max(1, DEVICE_CELLS // (n * m))
    wide = -(-g // -(-g // lanes)) if g else 1
    tall = max(1, min(lanes // wide, DEVICE_CELLS // (n * m * wide)))
    blocks = ((top, left) for left in range(0, g, wide) for top in range(0, u, tall))
    if symmetric:
        blocks = ((top, left) for top in range(0, u, tall) for left in range(top, g, wide))
    for top, left in blocks:
        yield slice(top, min(top + tall, u)), slice(left, min(left + wide, g))


def rectangle(x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float, symmetric: bool = False) -> Tensor:
    """Return D [U, G] of unit rows x [U, N, F] and time-major y [M, G, F].

    `symmetric` (y holds x) computes what lies on and above the diagonal; the rest means nothing.
    """
    out = x.new_zeros(len(x), y.shape[1])
    some_y, previous = y, slice(0)
    for rows, columns in tiles(x, y, symmetric):
        if columns != previous:
            some_y, previous = y[:, columns].contiguous(), columns
        block = make_block(x[rows], some_y, x_len[rows], y_len[columns], gamma)
        out[rows, columns] = run_forward(block, keep=False)[0].mul_(gamma * LN2).to(x.dtype)
    return out


def rectangle_backward(
    grad: Tensor, x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float, symmetric: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `rectangle` for x [U, N, F] and y [M, G, F], recomputing each block."""
    grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
    for rows, columns in tiles(x, y, symmetric):
        part = grad[rows, columns]
        if not bool((part != 0).any()):
            continue
        some_x, some_y = x[rows], y[:, columns]
        mass = run_backward(make_block(some_x, some_y, x_len[rows], y_len[columns], gamma), part)
        flat = mass.flatten(0, 1).flatten(1, 2)  # [b N, M G]
        live_x = torch.where((part != 0).any(1)[:, None, None], some_x, 0.0)
        live_y = torch.where((part != 0).any(0)[:, None], some_y, 0.0)
        grad_x[rows] -= (flat @ live_y.flatten(0, 1)).view_as(some_x)
        grad_y[:, columns] -= (flat.T @ live_x.flatten(0, 1)).view_as(some_y)
    return grad_x, grad_y
