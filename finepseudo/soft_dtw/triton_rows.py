"""Backend `triton`: unit rows and their gradient in a launch each, where torch takes a dozen."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

FRAMES = 4
"""Frames of a program, one for each warp."""
LEAST_FEATURES = 64
"""Frames are padded to a power of two from here on: fewer kernels."""


@triton.jit
def load_frames(x, lengths, total, n, features, frames: tl.constexpr, wide: tl.constexpr):
    """Return frames [frames, wide] of x [total, F], zero from a video's length on, their offsets and which are real."""
    frame, f = tl.program_id(0).to(tl.int64) * frames + tl.arange(0, frames), tl.arange(0, wide)
    inside = (frame < total)[:, None] & (f < features)[None, :]
    known = frame % n < tl.load(lengths + frame // n, mask=frame < total, other=0)
    offset = frame[:, None] * features + f[None, :]
    return tl.load(x + offset, mask=inside & known[:, None], other=0.0), offset, inside, known


@triton.jit
def inverse_norm(value):
    """Return 1 / norm of each row of float64, [rows, 1], 0 where that is 0; squares of float32 fit into float64."""
    norm = tl.sqrt(tl.sum(value * value, 1, keep_dims=True))
    return tl.where(norm == 0, 0.0, 1.0 / tl.where(norm == 0, 1.0, norm))


@triton.jit(do_not_specialize=["total", "n", "features"], do_not_specialize_on_alignment=["lengths"])
def normalise(x, lengths, out, total, n, features, frames: tl.constexpr, wide: tl.constexpr):
    """Write each frame of x [total, F] divided by its norm: in float64, so that a row is rounded just once."""
    value, offset, inside, _ = load_frames(x, lengths, total, n, features, frames, wide)
    value = value.to(tl.float64)
    tl.store(out + offset, (value * inverse_norm(value)).to(tl.float32), mask=inside)


@triton.jit(do_not_specialize=["total", "n", "features"], do_not_specialize_on_alignment=["lengths"])
def normalise_backward(grad, x, lengths, out, total, n, features, frames: tl.constexpr, wide: tl.constexpr):
    """Write the gradient of each frame of x: (g - (g . r) r) / norm with r its unit row."""
    value, offset, inside, known = load_frames(x, lengths, total, n, features, frames, wide)
    upstream = tl.load(grad + offset, mask=inside & known[:, None], other=0.0).to(tl.float64)
    value = value.to(tl.float64)
    scale = inverse_norm(value)
    unit = value * scale
    along = tl.sum(upstream * unit, 1, keep_dims=True)
    result = tl.where(known[:, None], (upstream - along * unit) * scale, 0.0)
    tl.store(out + offset, result.to(tl.float32), mask=inside)


@cache
def gpu_of(device: torch.device) -> Any:  # noqa: ANN401 - torch does not tell the type
    """Return torch's properties of a CUDA device, asked for once."""
    return torch.cuda.get_device_properties(device)


def power_of_two(least: int) -> int:
    """Return the first power of two from `least` on; Triton's own function of the host takes a fifth of a launch."""
    return 1 << (least - 1).bit_length()


def unit_rows(x: Tensor, lengths: Tensor) -> Tensor:
    """Return the frames of x [B, T, F] divided by their norms, 0 from `lengths` [B] on."""
    return _launch(normalise, (x,), lengths)


def unit_rows_backward(grad: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    """Return the gradient of `unit_rows` for x."""
    return _launch(normalise_backward, (grad, x), lengths)


def _launch(kernel: triton.JITFunction, inputs: tuple[Tensor, ...], lengths: Tensor) -> Tensor:
    out = torch.empty_like(inputs[0])
    total, wide = out.shape[0] * out.shape[1], max(LEAST_FEATURES, power_of_two(out.shape[2]))
    if total:
        kernel[(-(-total // FRAMES),)](*inputs, lengths, out, total, *out.shape[1:], frames=FRAMES, wide=wide)
    return out
