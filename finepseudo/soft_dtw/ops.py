"""The operators `torch.ops.finepseudo.*`: custom ops with fake and autograd kernels, so that torch.compile keeps them.

They take unit rows (see `rows.py`); normalisation stays in plain torch, where autograd already knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from finepseudo.soft_dtw import backends, native, reference, wavefront


def _out_dtype(x: Tensor, backend: str) -> torch.dtype:
    return torch.float64 if backend == "reference" else x.dtype


def _mirror(upper: Tensor) -> Tensor:
    """Copy the upper triangle to the lower one."""
    return upper.triu() + upper.triu(1).T


def _both_sides(grad: Tensor) -> Tensor:
    """Return the gradient of the pairs on and above the diagonal, each of which fills two entries of D.

    A pair of a video with itself fills one.
    """
    return (grad + grad.T).triu(1) + torch.diag(torch.diagonal(grad))


@torch.library.custom_op("finepseudo::unit_rows", mutates_args=())
def unit_rows(x: Tensor, lengths: Tensor) -> Tensor:
    """Return what `rows.unit_rows` does of float32 x [B, T, F] on a CUDA device, in one launch."""
    from finepseudo.soft_dtw import triton_rows

    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        return triton_rows.unit_rows(x.contiguous(), lengths)


unit_rows.register_fake(lambda x, lengths: x.new_empty(x.shape))


@torch.library.custom_op("finepseudo::soft_dtw", mutates_args=())
def soft_dtw(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str) -> Tensor:
    """Return D [B, B'] of unit rows x [B, T, F] and y [B', T', F]; without y, D [B, B] of x with itself."""
    if backends.is_native(backend):
        return native.pairwise(x, y, x_len, y_len, gamma, backend)
    other = x if y is None else y
    if backend == "reference":
        value = reference.rectangle(x, other, x_len, y_len, gamma)
    else:
        value = wavefront.rectangle(x, other.transpose(0, 1), x_len, y_len, gamma, symmetric=y is None)
    return _mirror(value) if y is None else value


@soft_dtw.register_fake
def _(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str) -> Tensor:
    other = x if y is None else y
    return x.new_empty(x.shape[0], other.shape[0], dtype=_out_dtype(x, backend))


@torch.library.custom_op("finepseudo::soft_dtw_backward", mutates_args=())
def soft_dtw_backward(
    grad: Tensor, x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `soft_dtw` for x and y (empty without y), recomputing what they need."""
    if backends.is_native(backend):
        grad_x, grad_y = native.pairwise_backward(grad, x, y, x_len, y_len, gamma, backend)
        return (grad_x + grad_y, x.new_empty(0)) if y is None else (grad_x.contiguous(), grad_y.contiguous())
    other, grad = (x, _both_sides(grad)) if y is None else (y, grad)
    if backend == "reference":
        grad_x, grad_y = reference.rectangle_backward(grad, x, other, x_len, y_len, gamma)
    else:
        time_major = other.transpose(0, 1)
        grad_x, turned = wavefront.rectangle_backward(grad, x, time_major, x_len, y_len, gamma, y is None)
        grad_y = turned.transpose(0, 1)
    grad_x, grad_y = grad_x.to(x.dtype), grad_y.to(x.dtype)
    if y is None:
        return grad_x + grad_y, x.new_empty(0)
    return grad_x.contiguous(), grad_y.contiguous()


@soft_dtw_backward.register_fake
def _(
    grad: Tensor, x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(0) if y is None else y.new_empty(y.shape)


Inputs = tuple[Tensor, Tensor | None, Tensor, Tensor, float, str]


def _setup(ctx: torch.autograd.function.FunctionCtx, inputs: Inputs, output: Tensor) -> None:
    x, y, x_len, y_len, gamma, backend = inputs
    ctx.save_for_backward(*(t for t in (x, x_len, y_len, y) if t is not None))
    ctx.gamma, ctx.backend = gamma, backend  # type: ignore[attr-defined]


def _gradient(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, x_len, y_len, *rest = ctx.saved_tensors  # type: ignore[attr-defined]
    y = rest[0] if rest else None
    gamma, backend = ctx.gamma, ctx.backend  # type: ignore[attr-defined]
    grad_x, grad_y = soft_dtw_backward(grad.contiguous(), x, y, x_len, y_len, gamma, backend)
    return grad_x, None if y is None else grad_y, None, None, None, None


cast(Callable[..., None], soft_dtw.register_autograd)(_gradient, setup_context=_setup)


Given = tuple[Tensor, Tensor | None, Tensor, Tensor, float]


def frame_pairs(
    x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return D of `soft_dtw` and the unit rows of x and y (empty without y) of frames as they come, by Triton alone.

    One step for both: what surrounds an operator takes a GPU's host longer than its kernels take the GPU.
    """
    from finepseudo.soft_dtw import triton_pairs, triton_rows

    # Triton launches on the current device, which may be another one
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        rows = triton_rows.unit_rows(x.contiguous(), x_len)
        others = None if y is None else triton_rows.unit_rows(y.contiguous(), y_len)
        value = triton_pairs.rectangle(rows, others, x_len, y_len, gamma)
    return value, rows, x.new_empty(0) if others is None else others


def frame_pairs_backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor | None,
    unit_x: Tensor,
    unit_y: Tensor | None,
    x_len: Tensor,
    y_len: Tensor,
    gamma: float,
    y_too: bool,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `frame_pairs` for x and, `y_too`, for y (else anything)."""
    from finepseudo.soft_dtw import triton_pairs, triton_rows

    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        grad_x, grad_y = triton_pairs.rectangle_backward(grad, unit_x, unit_y, x_len, y_len, gamma)
        grad_x = triton_rows.unit_rows_backward(grad_x, x.contiguous(), x_len)
        if y is not None and y_too:
            grad_y = triton_rows.unit_rows_backward(grad_y, y.contiguous(), y_len)
    return grad_x, grad_y


soft_dtw_frames = torch.library.custom_op("finepseudo::soft_dtw_frames", frame_pairs, mutates_args=())
soft_dtw_frames_backward = torch.library.custom_op(
    "finepseudo::soft_dtw_frames_backward", frame_pairs_backward, mutates_args=()
)


@soft_dtw_frames.register_fake
def _(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    other = x if y is None else y
    value = x.new_empty(x.shape[0], other.shape[0])
    return value, x.new_empty(x.shape), x.new_empty(0) if y is None else y.new_empty(y.shape)


@soft_dtw_frames_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    y: Tensor | None,
    unit_x: Tensor,
    unit_y: Tensor | None,
    x_len: Tensor,
    y_len: Tensor,
    gamma: float,
    y_too: bool,
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(0) if y is None else y.new_empty(y.shape)


def _setup_frames(
    ctx: torch.autograd.function.FunctionCtx, inputs: Given, output: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, x_len, y_len, gamma = inputs
    _, unit_x, unit_y = output
    ctx.mark_non_differentiable(unit_x, unit_y)
    ctx.set_materialize_grads(False)  # of the unit rows there is none
    ctx.save_for_backward(x, x_len, y_len, unit_x, *(() if y is None else (y, unit_y)))
    ctx.gamma = gamma  # type: ignore[attr-defined]


def _frames_gradient(
    ctx: torch.autograd.function.FunctionCtx, grad: Tensor, backward: Callable[..., tuple[Tensor, Tensor]]
) -> tuple[Tensor | None, ...]:
    x, x_len, y_len, unit_x, *rest = ctx.saved_tensors  # type: ignore[attr-defined]
    y, unit_y = rest or (None, None)
    gamma, y_too = ctx.gamma, ctx.needs_input_grad[1]  # type: ignore[attr-defined]
    grad_x, grad_y = backward(grad.contiguous(), x, y, unit_x, unit_y, x_len, y_len, gamma, y_too)
    return grad_x, grad_y if y_too else None, None, None, None


cast(Callable[..., None], soft_dtw_frames.register_autograd)(
    lambda ctx, grad, *_: _frames_gradient(ctx, grad, soft_dtw_frames_backward), setup_context=_setup_frames
)


class FramePairs(torch.autograd.Function):
    """`soft_dtw_frames` where nothing is compiled: without the dispatcher a GPU's host takes about half as long."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, *given: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        """Align; `setup_context` would have the signature looked at in each call."""
        found = frame_pairs(*given)
        _setup_frames(ctx, given, found)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor, *_: Tensor | None) -> Any:  # noqa: ANN401
        """Return the gradients for x and y."""
        return _frames_gradient(ctx, grad, frame_pairs_backward)


@torch.library.custom_op("finepseudo::soft_dtw_bank", mutates_args=())
def soft_dtw_bank(
    u: Tensor, u_len: Tensor, operand: Tensor, order: Tensor, g_len: Tensor, gamma: float, backend: str
) -> Tensor:
    """Return D [U, G] of unit rows u [U, T, F] against a packed bank; no gradient.

    `operand` is what `AlignmentBank.operand(backend)` gives; `order` [G] names the bank's video in each packed slot.
    """
    if backends.is_native(backend):
        return native.against_bank(u, u_len, operand, order, g_len, gamma, backend)
    if backend == "reference":
        return reference.rectangle(u, operand.transpose(0, 1), u_len, g_len, gamma)
    if backends.is_triton(backend):
        from finepseudo.soft_dtw import triton_fused

        # Triton launches on the current device, which may be another one
        with torch.cuda.device_of(u):  # type: ignore[no-untyped-call]
            return triton_fused.rectangle(u, operand, u_len, g_len, gamma)
    return wavefront.rectangle(u, operand, u_len, g_len, gamma)


@soft_dtw_bank.register_fake
def _(u: Tensor, u_len: Tensor, operand: Tensor, order: Tensor, g_len: Tensor, gamma: float, backend: str) -> Tensor:
    return u.new_empty(u.shape[0], g_len.shape[0], dtype=_out_dtype(u, backend))
