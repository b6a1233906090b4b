"""Backend `triton`, fused forward for 16-bit galleries: the pairs are the tile of the tensor cores.

A program aligns TALL videos of u with WIDE of the gallery. For each cell (i, j) one product of their frames,
[TALL, F] x [F, WIDE], leaves the cosine of every pair in the registers of the thread that owns the pair, and the
recursion runs on these accumulators: cosines never reach memory. A launch does at most MOST_COLUMNS columns of the
tables, whose last row lives in registers; longer tables hand their right edge to the next launch through memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from finepseudo.soft_dtw import wavefront
from finepseudo.soft_dtw.triton_cells import cosines, step

TALL, WIDE, WARPS = 64, 16, 4
"""Videos of u and of the gallery in a program, and its warps: 8 pairs a thread."""
STAGES = 2
"""Frames of u on their way to shared memory at once."""
MOST_COLUMNS = 8
"""Columns a launch does: with more, ptxas spills registers on sm_90."""
EDGE_CELLS = 1 << 26
"""Cells of right edges in memory at once (256 MiB)."""


@triton.jit
def walk_columns(
    u,
    gallery,
    out,
    edge_in,
    edge_out,
    g_len,
    videos,
    count,
    padded,
    stride,
    rows,
    frames,
    first,
    steepness,
    border,
    features: tl.constexpr,
    columns: tl.constexpr,
    opens: tl.constexpr,
    closes: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
    native: tl.constexpr,
):
    """Do columns first..first + columns - 1 of all tables; write R / (gamma ln 2) of pairs that end there to out.

    u [rows, padded, features] and gallery [frames, stride / features, features], where padded is a multiple of `tall`
    and as many frames lie behind each other in the gallery as a multiple of `wide`; features is a power of two; out
    [videos, count]; the edges [rows, programs, tall, wide]. `opens`: these are the first columns; `closes`: the last.
    """
    k, lane_u, lane_g = tl.arange(0, features), tl.arange(0, tall), tl.arange(0, wide)
    here = u + (tl.program_id(1) * tall).to(tl.int64) * features + lane_u[:, None] * features + k[None, :]
    panel = ()
    for j in tl.static_range(columns):
        frame = gallery + tl.minimum(first + j, frames - 1).to(tl.int64) * stride
        frame += (tl.program_id(0) * wide).to(tl.int64) * features
        panel = panel + (tl.load(frame + lane_g[None, :] * features + k[:, None]),)
    tiles = (tl.num_programs(0) * tl.num_programs(1)).to(tl.int64) * (tall * wide)
    tile = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * (tall * wide)
    tile += lane_u[:, None] * wide + lane_g[None, :]
    outside = tl.full([tall, wide], 0.0, tl.float32) + border
    above = ()
    for _ in tl.static_range(columns):
        above = above + (outside,)
    next_corner = tl.full([tall, wide], 0.0, tl.float32) if opens else outside
    for i in range(rows):
        frame_u = tl.load(here)
        here += padded * features
        left = outside if opens else tl.load(edge_in + i * tiles + tile)
        corner, next_corner = next_corner, left
        row = ()
        for j in tl.static_range(columns):
            left = step(above[j], left, corner, cosines(frame_u, panel[j], native), steepness, native)
            corner = above[j]
            row = row + (left,)
        above = row
        if not closes:
            tl.store(edge_out + i * tiles + tile, left)
    video, other = tl.program_id(1) * tall + lane_u, tl.program_id(0) * wide + lane_g
    last = tl.load(g_len + other, mask=other < count, other=0) - 1 - first
    found = above[0]
    for j in tl.static_range(1, columns):
        found = tl.where((last == j)[None, :], above[j], found)
    ends = (video < videos)[:, None] & ((last >= 0) & (last < columns) & (other < count))[None, :]
    tl.store(out + video.to(tl.int64)[:, None] * count + other[None, :], found, mask=ends)


def pack(unit: Tensor) -> Tensor:
    """Lay out unit rows [G, M, F] for the kernel: [M, G', F'], G' a multiple of WIDE, F' a power of two from 16 on."""
    return _time_major(unit, WIDE, max(16, triton.next_power_of_2(unit.shape[2])))


def _time_major(rows: Tensor, multiple: int, features: int) -> Tensor:
    missing = -len(rows) % multiple
    return torch.nn.functional.pad(rows.transpose(0, 1), (0, features - rows.shape[2], 0, missing)).contiguous()


def rectangle(x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float) -> Tensor:
    """Return D [U, G] of unit rows x [U, N, F] and a gallery from `pack`, G lengths y_len.

    Videos of one length share their launches, so that every table of a launch ends in the same row.
    """
    out = x.new_empty(len(x), len(y_len))
    for n in torch.unique(x_len).tolist():
        some = (x_len == n).nonzero()[:, 0]
        for rows, left, part in _parts(x[some, :n].to(y.dtype), y, y_len, 1.0 / (gamma * wavefront.LN2)):
            out[some[rows], left : left + part.shape[1]] = part
    return out.mul_(gamma * wavefront.LN2)


def _parts(x: Tensor, y: Tensor, y_len: Tensor, steepness: float) -> Iterator[tuple[slice, int, Tensor]]:
    """Yield R / (gamma ln 2) of x [U, N, F], all of length N, in rectangles whose edges fit into memory."""
    n, g = x.shape[1], len(y_len)
    wide = min(g, max(1, EDGE_CELLS // (n * TALL * WIDE)) * WIDE)
    tall = max(1, EDGE_CELLS // (n * TALL * (wide + WIDE))) * TALL
    for top in range(0, len(x), tall):
        rows = slice(top, min(top + tall, len(x)))
        turned = _time_major(x[rows], TALL, y.shape[2])
        for left in range(0, g, wide):
            yield rows, left, _tiles(turned, rows.stop - top, y[:, left:], y_len[left : left + wide], steepness)


def _tiles(turned: Tensor, videos: int, y: Tensor, y_len: Tensor, steepness: float) -> Tensor:
    """Return R / (gamma ln 2) [videos, G] of time-major turned [N, U', F'] and y [M, >= G', F'], G lengths y_len."""
    (n, padded, features), m, count = turned.shape, len(y), len(y_len)
    launches = triton.cdiv(m, MOST_COLUMNS)
    columns = triton.cdiv(m, launches)
    grid = (triton.cdiv(count, WIDE), padded // TALL)
    out = y_len.new_empty(videos, count, dtype=torch.float32)
    edges = [out.new_empty(n * grid[0] * grid[1] * TALL * WIDE if launches > k else 1) for k in (1, 2)]
    for launch in range(launches):
        walk_columns[grid](
            *(turned, y, out, edges[launch % 2 - 1], edges[launch % 2], y_len, videos, count, padded, y.stride(0)),
            *(n, m, launch * columns, steepness, wavefront.BORDER),
            features=features,
            columns=columns,
            opens=launch == 0,
            closes=launch == launches - 1,
            tall=TALL,
            wide=WIDE,
            native=turned.is_cuda,
            num_warps=WARPS,
            num_stages=STAGES,
        )
    return out
