"""What the Triton kernels share: the hardware's powers and logarithms, and one cell of the recursion.

Values are in units of gamma ln 2, so that the soft minimum is one of powers of two.
"""

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
def opaque(x, native: tl.constexpr):
    """Return x as a value the compiler knows nothing about: what is computed from it stays behind a loop."""
    if native:
        return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=tl.int32, is_pure=False, pack=1)
    return x


@triton.jit
def like(x, model, native: tl.constexpr):
    """Return x, spread over the threads as `model` is: an operation of both makes the compiler move x just once."""
    if native:
        return tl.inline_asm_elementwise(
            "mov.b32 $0, $1;", "=f,f,f", [x, model], dtype=tl.float32, is_pure=True, pack=1
        )
    return x


@triton.jit
def gain(a, b, degree: tl.constexpr, native: tl.constexpr):
    """Return log2(1 + t) for the power t = 2^-|a - b|: what the minimum of a and b is above their soft minimum.

    A polynomial in t, at most 6e-3 (degree 2) or 8e-4 (degree 3) off.
    """
    t = power(-tl.abs(a - b), native)
    if degree == 2:
        return t * (1.3569515943527222 + t * -0.36327725648880005)
    return t * (1.4245938062667847 + t * (-0.5892066359519958 + t * 0.16538377106189728))


@triton.jit
def split(x):
    """Return x, at most 1 in size, times 1024 as an upper and a lower half in float16: 22 bits of it.

    The factor keeps the lower halves in float16's normal range; `unscaled` takes it from a product.
    """
    scaled = x * 1024.0
    upper = scaled.to(tl.float16)
    return upper, (scaled - upper.to(tl.float32)).to(tl.float16)


@triton.jit
def unscaled(product):
    """Return what a product of `split` matrices stands for."""
    return product * 9.5367431640625e-07


@triton.jit
def precise_product(a, b, total):
    """Return total + a @ b of matrices from `split`, to about the bits of float32; see `unscaled`."""
    total = tl.dot(a[1], b[0], total)
    total = tl.dot(a[0], b[1], total)
    return tl.dot(a[0], b[0], total)


@triton.jit
def least_of_two(a, b):
    """Return the minimum; NaN spreads."""
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def least_of_three(a, b, c, native: tl.constexpr):
    """Return -log2(2^-a + 2^-b + 2^-c) with two ex2 and one lg2; NaN spreads."""
    low = tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)
    high = tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
    least = tl.minimum(low, c, propagate_nan=tl.PropagateNan.ALL)
    middle = tl.maximum(low, c, propagate_nan=tl.PropagateNan.ALL)
    return least - logarithm(power(least - high, native) + power(least - middle, native) + 1.0, native)
