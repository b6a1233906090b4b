"""Trainings that do not fit: activations computed again, batches passed on in pieces, state cut over the workers.

None of it changes what a step computes: mining, losses and statistics of a batch stay those of the global batch, but
for batch statistics under `micro_batch`, which are those of a piece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint

from finepseudo.distributed import statistics_rest
from finepseudo.encoders.frame_encoder import FrameEncoder
from finepseudo.training.config import MemoryConfig
from finepseudo.training.objectives import Objective


def blocks(network: nn.Module) -> list[nn.Module]:
    """List the trained blocks of a network: the layers of each list, and of each chain of layers that are alike."""
    found = []
    for module in network.modules():
        layers = list(module.children())
        alike = isinstance(module, nn.Sequential) and len({type(layer) for layer in layers}) == 1 < len(layers)
        if alike or isinstance(module, nn.ModuleList):
            found += [layer for layer in layers if any(p.requires_grad for p in layer.parameters())]
    inner = {id(part) for block in found for part in block.modules() if part is not block}
    return [block for block in found if id(block) not in inner]


def save_memory(objective: Objective, cfg: MemoryConfig) -> None:
    """Make `objective` compute activations again and pass clips on in pieces, as `cfg` says; changed in place."""
    if cfg.recompute:
        for block in blocks(objective):
            _replace_forward(block, partial(_again, block.forward))
    encoder = getattr(objective, "encoder", None)
    if cfg.micro_batch and isinstance(encoder, nn.Module):
        _replace_forward(encoder, partial(_in_pieces, encoder.forward, cfg.micro_batch))
        if isinstance(encoder, FrameEncoder):  # pre-training asks for the frames' descriptions first
            setattr(encoder, "described", partial(_in_pieces, encoder.described, cfg.micro_batch))  # noqa: B010


def _replace_forward(module: nn.Module, forward: Callable[..., Tensor]) -> None:
    module.forward = forward  # names in the state stay what they are


def _again(forward: Callable[..., Tensor], *args: object, **kwargs: object) -> Tensor:
    """Compute without keeping activations; the second time, running statistics stay where the first moved them."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    call = partial(forward, *args, **kwargs)
    result: Tensor = checkpoint(call, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_rest()))
    return result


def _in_pieces(forward: Callable[[Tensor], Tensor], clips: int, x: Tensor) -> Tensor:
    """Encode x [B, ...] `clips` at a time, activations of one piece in memory; return the rows of all."""
    if len(x) <= clips or not torch.is_grad_enabled():
        return forward(x)
    return torch.cat([_again(forward, piece) for piece in torch.split(x, clips)])


def shard(objective: Objective, device: torch.device) -> Objective:
    """Cut trained weights, their gradients and the optimiser's state over all workers (FSDP2), block by block.

    What is not trained, a teacher too, stays whole on every worker. Changed in place and returned.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    whole = {parameter for parameter in objective.parameters() if not parameter.requires_grad}
    for parameter in objective.parameters():
        parameter.data = parameter.data.contiguous()
    for block in blocks(objective):
        fully_shard(block, mesh=mesh, ignored_params=whole)
    fully_shard(objective, mesh=mesh, ignored_params=whole)
    return objective


def cut_like(state: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the tensors of a whole state as those of the same name in `like` are; nothing is sent."""
    return {name: _cut(value, like[name]) if name in like else value for name, value in state.items()}


def cut_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Cut what an optimiser keeps of each parameter as the parameter is cut; counters stay."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    rows = {
        number: {name: _cut(value, parameters[number]) for name, value in row.items()}
        for number, row in state["state"].items()
    }
    return {**state, "state": rows}


def _cut(value: object, like: object) -> object:
    if isinstance(value, Tensor) and isinstance(like, DTensor) and value.shape == like.shape:
        return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return value
