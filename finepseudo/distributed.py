"""Collectives with gradients, and batch normalisation over the global batch.

One convention holds everywhere: every rank returns the loss of the *global* batch, and DistributedDataParallel averages
the gradients over ranks. The backward of each collective here is the exact adjoint of the sum of the ranks' losses, so
that average equals the gradient one process would compute on the whole batch. Without a process group every function
is the identity on its argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from finepseudo.batch_norm import BatchNormAcrossRanks as _BatchNormAcrossRanks
from finepseudo.batch_norm import Running


def world_size() -> int:
    """Count the ranks that take part: 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's rank: 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def widened(x: Tensor) -> Tensor:
    """Return x in float32, or in float64 if it came so: what sums and losses are computed in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def gathered(state: Mapping[str, Any]) -> dict[str, Any]:
    """Make a state that is cut over the ranks whole on each; all of them call it together."""
    whole: dict[str, Any] = tree_map(
        lambda value: value.full_tensor() if isinstance(value, DTensor) else value, dict(state)
    )
    return whole


def data_parallel(module: nn.Module) -> DistributedDataParallel:
    """Average the gradients of a module over the ranks, each of which built it alike; its buffers are left to it.

    Running statistics cover the global batch already, so every step moves a rank's buffers as it moves the others'.
    torch 2.13 renamed the flag that says so; under the new one rank 0 hands its buffers out once, at the start.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    flag: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}
    # find_unused_parameters also keeps DDP from regrouping its buckets after the first step
    return DistributedDataParallel(module, find_unused_parameters=True, **flag)


class _SumAcrossRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total


def sum_across_ranks(x: Tensor) -> Tensor:
    """Sum a tensor of equal shape over all ranks; the gradient is summed over all ranks too."""
    if world_size() == 1:
        return x
    total: Tensor = _SumAcrossRanks.apply(x)  # type: ignore[no-untyped-call]
    return total


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        rows = x.new_empty(dist.get_world_size(), *x.shape)
        dist.all_gather(list(rows.unbind()), x.contiguous())
        return rows.flatten(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)  # reduce_scatter is missing in gloo; the batch is small
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate x [N, ...] of every rank along the first axis, in rank order, with gradients; N is equal on all."""
    if world_size() == 1:
        return x
    rows: Tensor = _GatherRows.apply(x)  # type: ignore[no-untyped-call]
    return rows


def global_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of values [N] over the entries with counted [N] True, over all ranks; 0 where nothing counts.

    Uncounted entries may hold anything finite: their gradient is zero.
    """
    total = sum_across_ranks(torch.where(counted, values, torch.zeros_like(values)).sum())
    count = sum_across_ranks(counted.sum().to(values.dtype))
    return total / count.clamp(min=1)


_resting = ContextVar("_resting", default=False)


@contextmanager
def statistics_rest() -> Iterator[None]:
    """Leave running statistics where they are: what is computed a second time has moved them the first."""
    before = _resting.set(True)
    try:
        yield
    finally:
        _resting.reset(before)


class SyncBatchNorm(nn.Module):
    """Batch normalisation of [N, C, ...] whose statistics cover every rank's rows; runs on gloo as on NCCL.

    Its state_dict has the entries of nn.BatchNorm1d/2d/3d. An empty slice on one rank is allowed, so masked clips can
    be left out. Without a process group it is torch's own batch normalisation.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        """Normalise `channels` channels; `momentum` is the weight of the new batch in the running statistics."""
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [N, C, ...] by the global batch in training, by the running statistics otherwise."""
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return self._local(x) if world_size() == 1 else self._across_ranks(x)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # its collectives end a graph
    def _across_ranks(self, x: Tensor) -> Tensor:
        running = None
        if not _resting.get():
            self.num_batches_tracked += 1
            running = Running(self.running_mean, self.running_var, self.momentum)
        y, _ = _BatchNormAcrossRanks.apply(x, self.weight, self.bias, self.eps, running)  # type: ignore[no-untyped-call]
        return y  # type: ignore[no-any-return]

    def _local(self, x: Tensor) -> Tensor:
        moves = not _resting.get()
        self.num_batches_tracked += moves
        if x.numel() == x.shape[1]:  # one value a channel has no variance; torch refuses it
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        momentum = self.momentum if moves else 0.0
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps)
