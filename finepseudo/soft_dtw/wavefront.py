"""Backend `torch`: anti-diagonals with the pairs innermost, on any device, without a compiler.

A block is b videos of x against G of y. Its cost lies as [b, N, M, G], so the cells of one anti-diagonal are a strided
view [k, b, G] of it and every step is elementwise over pairs. All values are in units of gamma ln 2, so that the
soft minimum is one of powers of two: exp2 stays fast where exp underflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
LN2 = math.log(2.0)
BORDER = 1e10
"""R outside the table, in those units: 2^-BORDER is 0 and, unlike infinity, differences of borders are not NaN."""
REBASE = 4
"""Anti-diagonals between two shifts of the origin of R; a gradient asks for one at each."""
FAINTEST = -100.0
"""Powers of two below are as good as 0 next to 1, and processors are slow where results leave the normal range."""
CPU_PAIRS, CPU_WIDE = 4096, 512
"""Pairs a block on a CPU, of how many videos of y: enough to hide the cost of a call, few enough for the caches."""
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


def soft_min(up: Tensor, left: Tensor, corner: Tensor, scratch: Tensor) -> Tensor:
    """Return -log2(2^-up + 2^-left + 2^-corner), in memory of `scratch` [3, ...]; the least of the three gives 2^0."""
    least, others = scratch[0], scratch[1:]
    torch.minimum(up, left, out=least)
    torch.maximum(up, left, out=others[0])
    torch.maximum(least, corner, out=others[1])
    torch.minimum(least, corner, out=least)
    torch.sub(least, others, out=others).clamp_(min=FAINTEST).exp2_()
    return least.sub_(torch.add(others[0], others[1], out=others[0]).add_(1.0).log2_())


def soft_min_and_shares(up: Tensor, left: Tensor, corner: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same and the softmax of the negated predecessors in base 2, [3, ...], which sums to one."""
    powers = torch.stack((up, left, corner))
    least = powers.amin(0)
    powers = torch.sub(least, powers, out=powers).clamp_(min=FAINTEST).exp2_()
    total = powers.sum(0)
    return least - total.log2(), powers.div_(total)


def run_forward(block: Block, keep: bool) -> tuple[Tensor, list[Tensor]]:
    """Return R at the end of each pair, [b, G], and (if `keep`) the shares [3, k, b, G] of each anti-diagonal.

    Three anti-diagonals of R are in memory, [N + 1, b, G] each: row i of the table is row i + 1, row 0 is the border.
    Every few steps (with `keep` every one) they are taken relative to their least cell: rounding grows with R.
    """
    cost = block.cost
    b, n, m, g = cost.shape
    out, ends, kept = cost.new_empty(b, g, dtype=torch.float64), block.ends(), []
    table, base = cost.new_full((3, n + 1, b, g), BORDER), torch.zeros_like(out)
    scratch = cost.new_empty(3, min(n, m), b, g)
    table[1, 0] = 0.0  # R(0, 0): the diagonal predecessor of the first cell
    for d in range(n + m - 1):
        after, before, here = table[d % 3], table[(d + 1) % 3], table[(d + 2) % 3]
        cells, lo, hi = block.diagonal(cost, d)
        if d and (keep or d % REBASE == 0):
            origin = here[lo : hi + 1].amin(0)
            base += origin
            here[lo : hi + 1] -= origin
            before[lo:hi] -= origin
        preceding = (here[lo:hi], here[lo + 1 : hi + 1], before[lo:hi])
        if keep:
            value, shares = soft_min_and_shares(*preceding)
            kept.append(shares)
        else:
            value = soft_min(*preceding, scratch[:, : hi - lo])
        torch.add(value, cells, out=after[lo + 1 : hi + 1])
        before[0] = BORDER
        if d in ends:
            row, p, q = ends[d]
            out[p, q] = after[row + 1, p, q] + base[p, q]
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
        weights = torch.where(live, kept.pop().mul_(here), 0.0)
        following = cost.new_zeros(n + 1, b, g)
        later[lo:hi] += weights[0]
        later[lo + 1 : hi + 1] += weights[1]
        following[lo:hi] += weights[2]
        inbox, later = later, following
    return mass


def scaled(x: Tensor, gamma: float) -> Tensor:
    """Prepare the rows of x [b, N, F] for `make_block`: -x / (gamma ln 2), and a last column of 1 / (gamma ln 2)."""
    steepness = 1.0 / (gamma * LN2)
    return torch.cat((x * -steepness, x.new_full((*x.shape[:2], 1), steepness)), dim=2)


def with_ones(y: Tensor) -> Tensor:
    """Append to y [M, G, F] a column of ones, against which the last column of `scaled` rows gives the 1 of 1 - cos."""
    return torch.cat((y, y.new_ones(*y.shape[:2], 1)), dim=2)


def make_block(x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor) -> Block:
    """Build the block of `scaled` rows x [b, N, F + 1] and y `with_ones`, time-major [M, G, F + 1].

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
    return Block(cost=cost.view(b, n, m, g), x_len=x_len, y_len=y_len)


Tile = tuple[slice, slice]


def tiles(x: Tensor, y: Tensor, symmetric: bool) -> Iterator[Tile]:
    """Cut x [U, N, F] against y [M, G, F] into blocks; `symmetric` leaves out those wholly below the diagonal."""
    u, n, _ = x.shape
    m, g, _ = y.shape
    most = DEVICE_CELLS // (n * m)
    pairs, widest = (CPU_PAIRS, CPU_WIDE) if x.device.type == "cpu" else (most, most)
    wide = -(-g // -(-g // max(1, widest))) if g else 1
    tall = max(1, min(pairs, most) // wide)
    for left in range(0, g, wide):
        for top in range(0, min(u, left + wide) if symmetric else u, tall):
            yield slice(top, min(top + tall, u)), slice(left, min(left + wide, g))


def each(work: Callable[[Tile], Result], some: Iterable[Tile], device: torch.device) -> Iterator[Result]:
    """Do tiles, giving their results in order; on a CPU each in one thread, since products split over threads round
    differently with their number."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield from map(work, some)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, some)
    torch.set_num_threads(threads)  # which the initializer has changed for threads that begin later


def rectangle(x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float, symmetric: bool = False) -> Tensor:
    """Return D [U, G] of unit rows x [U, N, F] and time-major y [M, G, F].

    `symmetric` (y holds x) computes what lies on and above the diagonal; the rest means nothing.
    """
    out, ready = x.new_zeros(len(x), y.shape[1]), scaled(x, gamma)

    @torch.no_grad()
    def work(tile: Tile) -> tuple[Tile, Tensor]:
        rows, columns = tile
        block = make_block(ready[rows], with_ones(y[:, columns]), x_len[rows], y_len[columns])
        return tile, run_forward(block, keep=False)[0].mul_(gamma * LN2)

    for tile, part in each(work, tiles(x, y, symmetric), x.device):
        out[tile] = part.to(x.dtype)
    return out


def rectangle_backward(
    grad: Tensor, x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float, symmetric: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `rectangle` for x [U, N, F] and y [M, G, F], recomputing each block."""
    grad_x, grad_y, ready = torch.zeros_like(x), torch.zeros_like(y), scaled(x, gamma)

    @torch.no_grad()
    def work(tile: Tile) -> tuple[Tile, Tensor, Tensor] | None:
        rows, columns = tile
        part, some_x, some_y = grad[rows, columns], x[rows], y[:, columns]
        if not bool((part != 0).any()):
            return None
        mass = run_backward(make_block(ready[rows], with_ones(some_y), x_len[rows], y_len[columns]), part)
        flat = mass.flatten(0, 1).flatten(1, 2)  # [b N, M G]
        finite_x, finite_y = some_x.nan_to_num(), some_y.nan_to_num()  # NaN is in the mass where it has a say
        return tile, (flat @ finite_y.flatten(0, 1)).view_as(some_x), (flat.T @ finite_x.flatten(0, 1)).view_as(some_y)

    for done in each(work, tiles(x, y, symmetric), x.device):
        if done is not None:
            (rows, columns), part_x, part_y = done
            grad_x[rows] -= part_x
            grad_y[:, columns] -= part_y
    return grad_x, grad_y
