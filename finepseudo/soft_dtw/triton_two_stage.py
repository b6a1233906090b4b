"""Backend `triton` in two stages: products in chunks that stay in the second-level cache, then one thread a pair.

The product of u [U * N, F] with a time-major gallery [F, M * G] has the pairs innermost, so nothing is transposed. A
thread walks its table row by row and holds the whole row above in registers. In units of gamma ln 2 a cell needs two
ex2 and one lg2 of the special-function unit. Gradients come from `wavefront`, which runs on any device.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from finepseudo.soft_dtw import wavefront
from finepseudo.soft_dtw.triton_cells import step

MOST_COLUMNS = 64
"""A row of more columns would not fit into registers; such galleries take the torch backend."""
CHUNK_CELLS = 1 << 23
"""Cells of cost between product and recursion: 32 MiB, within the second-level cache of an H100 or H200."""
BLOCK = 128


@triton.jit
def walk_tables(
    dots,
    out,
    u_len,
    g_len,
    gallery,
    rows,
    steepness,
    border,
    columns: tl.constexpr,
    block: tl.constexpr,
    native: tl.constexpr,
):
    """Write R / (gamma ln 2) at the end of each pair to out [U, G] from cosines dots [U, rows, columns, G]."""
    video = tl.program_id(1)
    lane = tl.program_id(0) * block + tl.arange(0, block)
    inside = lane < gallery
    cell = dots + video.to(tl.int64) * rows * columns * gallery + lane
    above = ()
    for _ in tl.static_range(columns):
        above = above + (tl.full([block], 0.0, tl.float32) + border,)
    corner_first = tl.full([block], 0.0, tl.float32)
    for _ in range(tl.load(u_len + video)):
        corner, left = corner_first, tl.full([block], 0.0, tl.float32) + border
        row = ()
        for j in tl.static_range(columns):
            cosine = tl.load(cell, mask=inside, other=0.0)
            cell += gallery
            left = step(above[j], left, corner, cosine, steepness, native)
            corner = above[j]
            row = row + (left,)
        above = row
        corner_first = tl.full([block], 0.0, tl.float32) + border
    last = tl.load(g_len + lane, mask=inside, other=1) - 1
    found = above[0]
    for j in tl.static_range(1, columns):
        found = tl.where(last == j, above[j], found)
    tl.store(out + video.to(tl.int64) * gallery + lane, found, mask=inside)


def pack(unit: Tensor) -> Tensor:
    """Lay out unit rows [G, M, F] time-major, [M, G, F]."""
    return unit.transpose(0, 1).contiguous()


def cosines(x: Tensor, columns: Tensor) -> Tensor:
    """Return x [b, N, F] times columns [F, M * G] in float32; 16-bit columns use the tensor cores."""
    if columns.dtype == torch.float32 or not x.is_cuda:
        return x @ columns.float()
    return torch.mm(x.flatten(0, 1).to(columns.dtype), columns, out_dtype=torch.float32)


def rectangle(x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float) -> Tensor:
    """Return D [U, G] of unit rows x [U, N, F] and time-major y [M, G, F] (16-bit or float32)."""
    (u, n, f), (m, g, _) = x.shape, y.shape
    if m > MOST_COLUMNS or n == 0:
        return wavefront.rectangle(x, y.float(), x_len, y_len, gamma)
    out = x.new_empty(u, g)
    unit = gamma * wavefront.LN2
    wide = max(1, min(g, CHUNK_CELLS // (n * m)))
    for left in range(0, g, wide):
        some = y[:, left : left + wide]
        count = some.shape[1]
        columns = some.reshape(m * count, f).T
        tall = max(1, CHUNK_CELLS // (n * m * count))
        for top in range(0, u, tall):
            dots = cosines(x[top : top + tall], columns).contiguous()
            part = x.new_empty(min(tall, u - top), count)
            walk_tables[(triton.cdiv(count, BLOCK), len(part))](
                *(dots, part, x_len[top : top + tall], y_len[left : left + wide], count, n),
                *(1.0 / unit, wavefront.BORDER),
                columns=m,
                block=BLOCK,
                native=x.is_cuda,
            )
            out[top : top + tall, left : left + wide] = part
    return out.mul_(unit)
