"""The five CUDA kernels of torch's SyncBatchNorm for a CPU, after their CUDA source: the fused way runs without a GPU.

They divide where the kernels divide and count in whole numbers as those do, so that 0 / 0 shows here as it would there.
"""

from __future__ import annotations

import torch
from torch import Tensor


def register() -> torch.library.Library:
    """Give the five operators of aten a CPU kernel for as long as the answer lives."""
    library = torch.library.Library("aten", "IMPL")
    for name in ("stats", "gather_stats_with_counts", "elemt", "backward_reduce", "backward_elemt"):
        library.impl(f"batch_norm_{name}", globals()[name], "CPU")
    return library


def axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


def wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    assert x.numel() > 0
    variance, mean = torch.var_mean(wide(x), axes(x), correction=0)
    return mean, (variance + eps).rsqrt()


def gather_stats_with_counts(x, mean, invstd, running_mean, running_var, momentum, eps, counts):
    assert counts.dtype == (x if running_mean is None else running_mean).dtype  # the kernel reads them as that
    average, spread, n = torch.zeros_like(mean[0]), torch.zeros_like(mean[0]), 0
    for m, s, count in zip(mean, invstd, counts, strict=True):
        v = ((1 / s) ** 2 - eps) * count
        factor = 1.0 / (n + count)
        spread = spread + v + (average - m) ** 2 * n * count * factor
        average = n * factor * average + count * factor * m
        n += int(count)
    count = torch.tensor(n, dtype=mean.dtype)
    if running_mean is not None:
        running_mean.mul_(1 - momentum).add_(momentum * average)
        running_var.mul_(1 - momentum).add_(momentum * spread / (count - 1))
    return average, 1 / (spread / count + eps).sqrt()


def elemt(x, weight, bias, mean, invstd, eps):
    assert mean.dtype == torch.promote_types(x.dtype, torch.float32)
    return ((wide(x) - channels(mean, x)) * channels(invstd * weight, x) + channels(bias, x)).to(x.dtype)


def backward_reduce(grad, x, mean, invstd, weight, input_g, weight_g, bias_g):
    assert grad.dtype == x.dtype
    dy, centred = wide(grad), wide(x) - channels(mean, x)
    sum_dy, sum_dy_xmu = dy.sum(axes(x)), (dy * centred).sum(axes(x))
    return sum_dy, sum_dy_xmu, (sum_dy_xmu * invstd).to(weight.dtype), sum_dy.to(weight.dtype)


def backward_elemt(grad, x, mean, invstd, weight, sum_dy, sum_dy_xmu, count):
    assert count.dtype == torch.int32
    n = count.sum().to(mean.dtype)
    centred = (wide(x) - channels(mean, x)) * channels(sum_dy_xmu * invstd**2 / n, x)
    dx = (wide(grad) - channels(sum_dy / n, x) - centred) * channels(invstd * weight, x)
    return dx.to(x.dtype)
