"""What the Triton kernels share: one cell of the recursion in units of gamma ln 2, two ex2 and one lg2."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def power(x, native: tl.constexpr):
    """Return 2^x, by the hardware unit if `native` (the interpreter has none)."""
    if native:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    return tl.exp2(x)


@triton.jit
def logarithm(x, native: tl.constexpr):
    """Return log2 x, by the hardware unit if `native`."""
    if native:
        return tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    return tl.log2(x)


@triton.jit
def step(up, left, corner, cosine, steepness, native: tl.constexpr):
    """Return R of a cell from its three predecessors and the cosine of its two frames; NaN in any gives NaN."""
    low = tl.minimum(up, left, propagate_nan=tl.PropagateNan.ALL)
    high = tl.maximum(up, left, propagate_nan=tl.PropagateNan.ALL)
    least = tl.minimum(low, corner, propagate_nan=tl.PropagateNan.ALL)
    middle = tl.maximum(low, corner, propagate_nan=tl.PropagateNan.ALL)
    total = power(least - high, native) + power(least - middle, native) + 1.0
    return (steepness - steepness * cosine) + (least - logarithm(total, native))


@triton.jit
def cosines(rows, columns, native: tl.constexpr):
    """Return the product in float32 (the interpreter does not know how to multiply bfloat16)."""
    if native:
        return tl.dot(rows, columns)
    return tl.dot(rows.to(tl.float32), columns.to(tl.float32))
