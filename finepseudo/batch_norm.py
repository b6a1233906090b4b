"""Batch normalisation of [N, C, ...] over the rows of every rank, as one autograd function.

On a GPU it is made of the fused kernels of torch's own SyncBatchNorm: three passes over the activation forward, five
backward, in 16 bit as in 32, one small collective each way and no wait for the device. On a CPU, which lacks them, and
for plain rows [N, C], torch's kernels for frozen statistics do the same work in three and seven passes. Statistics are
float32 [C] (float64 where x is). A rank may have no row at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_NO_ROWS = 1e-30  # a count that the fused kernel can divide by and that adds nothing


@dataclass(frozen=True, slots=True)
class Running:
    """Running mean and variance [C], moved in place by `momentum` towards those of each global batch."""

    mean: Tensor
    variance: Tensor
    momentum: float


@dataclass(frozen=True, slots=True)
class _Channels:
    """What normalises each channel [C]; `spread` and `counts` are in the words of the way that is taken."""

    weight: Tensor
    mean: Tensor
    spread: Tensor
    counts: Tensor
    eps: float


class _Context(FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    eps: float


class BatchNormAcrossRanks(torch.autograd.Function):
    """y = (x - mean) / std * weight + bias, mean and variance taken over the rows of every rank."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd hands arguments over by position
        ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor, eps: float, running: Running | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return y and the mean [C], which has no gradient; move `running`."""
        way = _way(x)
        mean, spread, counts = way.statistics(x, eps, running)
        ctx.save_for_backward(x, weight, mean, spread, counts)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean)
        return way.normalised(x, bias, _Channels(weight, mean, spread, counts, eps)), mean

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of x, and of weight and bias this rank's shares of them."""
        x, weight, mean, spread, counts = ctx.saved_tensors
        way, grad, channels = _way(x), _laid_out(grad), _Channels(weight, mean, spread, counts, ctx.eps)
        sums, grad_weight, grad_bias = way.sums(grad, x, channels)
        dist.all_reduce(sums)
        return way.gradient(grad, x, channels, sums), grad_weight, grad_bias, None, None


def fused(x: Tensor) -> bool:
    """Tell whether torch's fused kernels take x; rows [N, C] of a single value a channel would break them."""
    return x.is_cuda and x.shape[2:].numel() > 1 and x.dim() > 2


def _way(x: Tensor) -> type[_Fused | _Plain]:
    return _Fused if fused(x) else _Plain


def _laid_out(x: Tensor) -> Tensor:
    """Give x a layout that the kernels take: contiguous, or with the channels last."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = x.dim() in formats and x.is_contiguous(memory_format=formats[x.dim()])
    return x if last else x.contiguous()


class _Fused:
    """The kernels of torch's SyncBatchNorm. `spread` is 1 / std [C], counts float [ranks]."""

    @staticmethod
    def statistics(x: Tensor, eps: float, running: Running | None) -> tuple[Tensor, Tensor, Tensor]:
        """Gather mean, 1 / std and count of every rank; one kernel joins them and moves the running statistics."""
        channels = x.shape[1]
        if x.numel():
            mean, inverse_std = torch.batch_norm_stats(_laid_out(x), eps)
        else:
            mean = _zeros(x)
            inverse_std = torch.full_like(mean, eps**-0.5)
        row = torch.cat([mean, inverse_std, mean.new_full((1,), x.numel() / channels or _NO_ROWS)])
        rows = row.new_empty(dist.get_world_size(), len(row))
        dist.all_gather(list(rows.unbind()), row)
        moved_mean, moved_variance = (running.mean, running.variance) if running else (None, None)
        mean, inverse_std = torch.batch_norm_gather_stats_with_counts(
            rows,
            rows[:, :channels],
            rows[:, channels:-1],
            moved_mean,
            moved_variance,
            running.momentum if running else 0.0,
            eps,
            rows[:, -1].contiguous(),
        )
        return mean, inverse_std, rows[:, -1].to(torch.int32)

    @staticmethod
    def normalised(x: Tensor, bias: Tensor, c: _Channels) -> Tensor:
        return torch.batch_norm_elemt(_laid_out(x), c.weight, bias, c.mean, c.spread, c.eps) if x.numel() else x.clone()

    @staticmethod
    def sums(grad: Tensor, x: Tensor, c: _Channels) -> tuple[Tensor, Tensor, Tensor]:
        if not x.numel():
            return c.mean.new_zeros(2, len(c.mean)), torch.zeros_like(c.weight), torch.zeros_like(c.weight)
        sum_dy, sum_dy_xmu, grad_weight, grad_bias = torch.batch_norm_backward_reduce(
            grad, _laid_out(x), c.mean, c.spread, c.weight, True, True, True
        )
        return torch.stack([sum_dy, sum_dy_xmu]), grad_weight, grad_bias

    @staticmethod
    def gradient(grad: Tensor, x: Tensor, c: _Channels, sums: Tensor) -> Tensor:
        if not x.numel():
            return torch.zeros_like(x)
        return torch.batch_norm_backward_elemt(
            grad, _laid_out(x), c.mean, c.spread, c.weight, sums[0], sums[1], c.counts
        )


class _Plain:
    """Kernels that every device has. `spread` is the variance [C], counts the number of rows [1]."""

    @staticmethod
    def statistics(x: Tensor, eps: float, running: Running | None) -> tuple[Tensor, Tensor, Tensor]:
        """Two sums over ranks, of the means and of the deviations from their mean: nothing cancels."""
        own = x.numel() / x.shape[1]
        mean, variance = _zeros(x), _zeros(x)
        if own:  # running statistics are handed in for their type: without them, those of 16 bit are 16 bit
            mean, variance = torch.batch_norm_update_stats(x, mean, variance, 0.0)
        total = torch.cat([mean * own, mean.new_full((1,), own)])
        dist.all_reduce(total)
        count = total[-1:].clamp(min=1)
        centre = total[:-1] / count
        square = (variance + (mean - centre).square()) * own
        dist.all_reduce(square)
        variance = square / count
        if running:
            running.mean.lerp_(centre.to(running.mean), running.momentum)
            unbiased = variance * count / (count - 1).clamp(min=1)
            running.variance.lerp_(unbiased.to(running.variance), running.momentum)
        return centre, variance, count

    @staticmethod
    def normalised(x: Tensor, bias: Tensor, c: _Channels) -> Tensor:
        if not x.numel():  # CUDA refuses to launch nothing
            return x.clone()
        y: Tensor = torch.native_batch_norm(x, c.weight, bias, c.mean, c.spread, False, 0.0, c.eps)[0]
        return y

    @staticmethod
    def sums(grad: Tensor, x: Tensor, c: _Channels) -> tuple[Tensor, Tensor, Tensor]:
        """Sum dy and dy (x - mean) over own rows, by the gradient of a normalisation with frozen statistics."""
        if not x.numel():
            return c.mean.new_zeros(2, len(c.mean)), torch.zeros_like(c.weight), torch.zeros_like(c.weight)
        _, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad,
            x,
            c.weight,
            c.mean,
            c.spread,
            c.mean,  # CUDA's kernel for rows [N, C] wants the saved statistics also where it is told the frozen ones
            (c.spread + c.eps).rsqrt(),
            False,
            c.eps,
            [False, True, True],
        )
        return torch.stack([grad_bias, grad_weight * (c.spread + c.eps).sqrt()]), grad_weight, grad_bias

    @staticmethod
    def gradient(grad: Tensor, x: Tensor, c: _Channels, sums: Tensor) -> Tensor:
        """dx = s (dy - sum dy / n - (x - mean) / std^2 sum dy (x - mean) / n), s = weight / std, as a linear map."""
        if not x.numel():
            return torch.zeros_like(x)
        scale = c.weight * (c.spread + c.eps).rsqrt()
        slope = -scale * sums[1] / (c.counts * (c.spread + c.eps))
        start = -scale * sums[0] / c.counts - slope * c.mean
        dx: Tensor = torch.native_batch_norm(
            grad, scale, start, torch.zeros_like(c.mean), torch.ones_like(c.mean), False, 0.0, 0.0
        )[0]
        return dx.addcmul_(x, slope.view(1, -1, *[1] * (x.dim() - 2)))


def _zeros(x: Tensor) -> Tensor:
    """Make a zero a channel of x, in 32 bit at least."""
    return torch.zeros(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
