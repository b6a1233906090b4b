"""Backend `triton`: videos against a gallery in one kernel; the pairs are the tile of the tensor cores.

A program aligns TALL videos of u with WIDE of the gallery, a block of columns of their tables after the other. The
frames of a block lie side by side in shared memory, so that one product, [TALL, F] x [F, columns * WIDE], gives the
cosines of one row of all the pairs' tables, and cutting it in halves leaves each in the registers of the thread that
owns the pair: cosines never reach memory. The last row stays in registers; a block hands its right edge to the next
through memory of the program's own, small enough for the second-level cache.

float32 rows are taken as sums of two float16: the products hi hi + hi lo + lo hi keep their precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from finepseudo.soft_dtw import wavefront
from finepseudo.soft_dtw.triton_cells import gain, least_of_three, least_of_two, like, opaque

TALL, WIDE, WARPS = 64, 16, 4
"""Videos of u and of the gallery in a program, and its warps: 8 pairs a thread."""
STAGES = 2
"""Frames of u on their way to shared memory at once."""
CHUNK = 128
"""Features of one product; a frame of more is several."""
LEAST_FEATURES = 64
"""Frames are padded to a power of two from here on: fewer kernels, and the cells are what takes the time anyway."""
ROUGH_GAMMA = 1e-3
"""Up to here polynomials stand for the logarithm: their error is below that of rounding R (D / gamma) to float32."""
MOST_REGISTERS = 168
"""What lets a multiprocessor of a Hopper GPU hold three programs."""
SHARED_BYTES = 227 << 10
"""Shared memory of its multiprocessor."""
SHARED_REST = 5 << 10
"""What a program takes besides panel and frames: an edge that changes hands, barriers."""
SCALE = 16.0
"""Of the rows that are split: keeps the lower halves of float16 in its normal range."""


@triton.jit
def halves(tiles, count: tl.constexpr, tall: tl.constexpr, wide: tl.constexpr):
    """Cut each of `count` tiles [tall, 2 * wide] into its left and its right half."""
    found = ()
    for t in tl.static_range(count):
        found = found + tl.split(tl.permute(tl.reshape(tiles[t], [tall, 2, wide]), [0, 2, 1]))
    return found


@triton.jit
def cut(row, columns: tl.constexpr, tall: tl.constexpr, wide: tl.constexpr):
    """Cut [tall, columns * wide] into 2, 4, 8 or 16 `columns` [tall, wide]; threads keep what they hold."""
    cells = halves((row,), 1, tall, columns * wide // 2)
    if columns >= 4:
        cells = halves(cells, 2, tall, columns * wide // 4)
    if columns >= 8:
        cells = halves(cells, 4, tall, columns * wide // 8)
    if columns == 16:
        cells = halves(cells, 8, tall, wide)
    return cells


@triton.jit
def multiply(rows, columns, total, native: tl.constexpr):
    """Return total + rows @ columns in float32 (the interpreter does not know how to multiply bfloat16)."""
    if native:
        return tl.dot(rows, columns, total)
    return tl.dot(rows.to(tl.float32), columns.to(tl.float32), total)


@triton.jit
def lengths(of, first, count, many: tl.constexpr):
    """Return the lengths of videos first..first + many - 1, 0 beyond the last."""
    lane = first + tl.arange(0, many)
    return tl.load(of + lane, mask=lane < count, other=0).to(tl.int32)


@triton.jit
def next_end(of, first, count, done, many: tl.constexpr):
    """Return the shortest of these lengths that is above `done`, or 0."""
    length = lengths(of, first, count, many)
    shortest = tl.min(tl.where(length > done, length, 1 << 30), 0)
    return tl.where(shortest < 1 << 30, shortest, 0)


@triton.jit
def row_above(above, corner, columns: tl.constexpr, rough: tl.constexpr, native: tl.constexpr):
    """Return of each cell of a row what its predecessors of the row above come to, as far as that is worked out alone.

    With `rough` the soft minimum of the two: the half of the work that waits for nothing.
    """
    if not rough:
        return above
    upper = (least_of_two(above[0], corner) - gain(above[0], corner, 2, native),)
    for j in tl.static_range(1, columns):
        upper = upper + (least_of_two(above[j], above[j - 1]) - gain(above[j], above[j - 1], 2, native),)
    return upper


@triton.jit
def row_products(
    u,
    at,
    panel,
    total,
    features: tl.constexpr,
    chunk: tl.constexpr,
    split: tl.constexpr,
    native: tl.constexpr,
):
    """Return total + the products of the frames of u from row `at` of its view with a panel."""
    parts: tl.constexpr = features // chunk
    for c in tl.static_range(parts):
        frame = u.load([at, c * chunk])
        total = multiply(frame, panel[c], total, native)
        if split:
            total = multiply(frame, panel[c + parts], total, native)
            lower = u.load([at, features + c * chunk])
            total = multiply(lower, panel[c], total, native)
    return total


@triton.jit
def walk_row(
    cells,
    above,
    upper,
    corner,
    left,
    slope,
    steepness,
    columns: tl.constexpr,
    rough: tl.constexpr,
    native: tl.constexpr,
):
    """Return a row of R [columns] of tiles [tall, wide] and its last: `cells` cosines, `upper` from `row_above`."""
    row = ()
    for j in tl.static_range(columns):
        cost = steepness - slope * cells[j]
        if rough:
            left = (cost + least_of_two(upper[j], left)) - gain(upper[j], left, 3, native)
        else:
            left = cost + least_of_three(above[j], corner, left, native)
            corner = above[j]
        row = row + (left,)
    return row, left


@triton.jit
def store_ends(
    row,
    out,
    u_len,
    g_len,
    u_first,
    g_first,
    first,
    until,
    videos,
    count,
    columns: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
):
    """Write of a row, the last of videos of length `until`, the cells where a video of the gallery ends."""
    last = lengths(g_len, g_first, count, wide) - 1 - first
    found = row[0]
    for j in tl.static_range(1, columns):
        found = tl.where((last == j)[None, :], row[j], found)
    ends = (lengths(u_len, u_first, videos, tall) == until)[:, None] & (last >= 0)[None, :]
    u, g = u_first + tl.arange(0, tall), g_first + tl.arange(0, wide)
    tl.store(out + u.to(tl.int64)[:, None] * count + g[None, :], found, mask=ends & (last < columns)[None, :])


@triton.jit(
    do_not_specialize=["videos", "count", "rows", "blocks"], do_not_specialize_on_alignment=["out", "u_len", "g_len"]
)
def walk_tables(
    u,
    gallery,
    out,
    edges,
    u_len,
    g_len,
    videos,
    count,
    rows,
    blocks,
    slope,
    steepness,
    border,
    features: tl.constexpr,
    chunk: tl.constexpr,
    split: tl.constexpr,
    columns: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
    rough: tl.constexpr,
    native: tl.constexpr,
):
    """Write R / (gamma ln 2) at the end of each pair to out [videos, count].

    u [tiles, rows, tall, width] and gallery [tiles, blocks, columns, wide, width] are descriptors of their 2-d views
    [.., width]; width is `features`, or twice that with `split`: first the upper halves, then the lower ones. edges
    [programs, rows, tall, wide]. The rows of a tile are done in stretches, each up to where some of its videos end.
    """
    parts: tl.constexpr = features // chunk
    lane = tl.arange(0, tall)[:, None] * wide + tl.arange(0, wide)[None, :]
    outside = tl.full([tall, wide], 0.0, tl.float32) + border
    edge = edges + tl.program_id(0).to(tl.int64) * rows * (tall * wide)
    tiles_u, tiles_g = tl.cdiv(videos, tall), tl.cdiv(count, wide)
    for tile in range(tl.program_id(0), tiles_u * tiles_g, tl.num_programs(0)):
        side = tile // tiles_u
        widest = tl.max(lengths(g_len, side * wide, count, wide), 0)
        for first in range(0, widest, columns):
            panel = ()
            for c in tl.static_range(parts * 2 if split else parts):
                panel = panel + (gallery.load([(side * blocks + first // columns) * (columns * wide), c * chunk]).T,)
            tl.debug_barrier()  # the edge of the block before is in memory
            above = ()
            for _ in tl.static_range(columns):
                above = above + (outside,)
            corner = outside if first > 0 else outside * 0.0
            done, until = 0, next_end(u_len, opaque(tile, native) % tiles_u * tall, videos, 0, tall)
            while done < until:
                top = opaque(tile, native) % tiles_u * rows
                for i in range(done, until):
                    left = tl.load(edge + (i * (tall * wide) + lane), mask=(first > 0) & (lane >= 0), other=border)
                    upper = row_above(above, corner, columns, rough, native)
                    products = tl.zeros([tall, columns * wide], tl.float32)
                    products = row_products(u, (top + i) * tall, panel, products, features, chunk, split, native)
                    cells = cut(products, columns, tall, wide)
                    left = like(left, cells[0], native)
                    next_corner = left
                    above, left = walk_row(cells, above, upper, corner, left, slope, steepness, columns, rough, native)
                    corner = next_corner
                    if first + columns < widest:
                        tl.store(edge + (i * (tall * wide) + lane), left)
                # what follows is worked out afresh: kept in registers through the loop above it would spill them
                u_first, g_first = opaque(tile, native) % tiles_u * tall, opaque(tile, native) // tiles_u * wide
                store_ends(
                    *(above, out, u_len, g_len, u_first, g_first, first, until, videos, count),
                    *(columns, tall, wide),
                )
                done, until = until, next_end(u_len, u_first, videos, until, tall)


def pack(unit: Tensor) -> Tensor:
    """Lay out unit rows [G, M, F] for the kernel: [tiles, blocks, columns * WIDE, width], padded with zeros."""
    split = unit.dtype == torch.float32
    return _tiled(unit, WIDE, columns_of(_features(unit.shape[2]) * (1 + split)), split)


def _features(features: int) -> int:
    return max(LEAST_FEATURES, int(triton.next_power_of_2(features)))


def columns_of(width: int) -> int:
    """Return the columns of a block: of wide frames fewer, or shared memory would hold too few."""
    return 8 if width <= CHUNK else 4


def _tiled(rows: Tensor, videos: int, columns: int, split: bool) -> Tensor:
    """Lay out rows [B, T, F] as [tiles, blocks, columns * videos, width]: frames of `videos` videos side by side."""
    count, frames, given = rows.shape
    features = _features(given)
    rows = torch.nn.functional.pad(rows, (0, features - given, 0, -frames % columns, 0, -count % videos))
    if split:
        scaled = rows * SCALE
        upper = scaled.half()
        rows = torch.cat((upper, (scaled - upper).half()), dim=2)
    width = rows.shape[2]
    tiles = rows.view(-1, videos, (frames + columns - 1) // columns, columns, width).permute(0, 2, 3, 1, 4)
    return tiles.reshape(*tiles.shape[:2], columns * videos, width).contiguous()


def rectangle(x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float) -> Tensor:
    """Return D [U, G] of unit rows x [U, N, F] and a gallery from `pack`, G lengths y_len."""
    features = _features(x.shape[2])
    split = y.shape[3] == 2 * features
    columns = y.shape[2] // WIDE
    out = x.new_empty(len(x), len(y_len))
    if not out.numel():
        return out
    turned = _tiled(x if split else x.to(y.dtype), TALL, 1, split)
    chunk, rough, unit = min(CHUNK, features), gamma <= ROUGH_GAMMA, gamma * wavefront.LN2
    plan = plan_of(y.shape[3], columns, rough)
    programs = min(plan.programs * _multiprocessors(x.device), len(turned) * len(y))
    edges = out.new_empty(programs * x.shape[1] * TALL * WIDE)
    walk_tables[(programs,)](
        *(_descriptor(turned, TALL, chunk), _descriptor(y, columns * WIDE, chunk), out, edges, x_len, y_len),
        *(len(x), len(y_len), x.shape[1], y.shape[1]),
        *((1.0 / unit) / (SCALE**2 if split else 1.0), 1.0 / unit, wavefront.BORDER),
        features=features,
        chunk=chunk,
        split=split,
        columns=columns,
        tall=TALL,
        wide=WIDE,
        rough=rough,
        native=x.is_cuda,
        num_warps=WARPS,
        num_stages=plan.stages,
        maxnreg=plan.registers,
    )
    return out.mul_(unit)


def _descriptor(tiles: Tensor, rows: int, chunk: int) -> TensorDescriptor:
    return TensorDescriptor.from_tensor(tiles.view(-1, tiles.shape[3]), [rows, chunk])


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How a launch fills a multiprocessor: programs at once, frames on their way in each, most registers a thread."""

    programs: int
    stages: int
    registers: int | None


def plan_of(width: int, columns: int, rough: bool) -> Plan:
    """Fit programs by the shared memory that they take; by their registers three fit, or two that are not `rough`."""
    panel, frame = 2 * width * columns * WIDE, 2 * width * TALL
    fit = min(3 if rough else 2, SHARED_BYTES // (panel + STAGES * frame + SHARED_REST))
    registers = MOST_REGISTERS if fit == 3 else None
    return Plan(programs=max(1, fit), stages=STAGES if fit else 1, registers=registers)


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1  # interpreted: programs do several tiles here too
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
