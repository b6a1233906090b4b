"""How networks are computed: precision, layout, compilation and repeatable bits are settled here and nowhere else.

`deterministic` wins over speed: it leaves cuDNN no choice by timing, keeps the plain layout and compiles nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from shards.types import UserError

Precision = Literal["fp32", "tf32", "bf16"]
"""Of matrix products and convolutions alike: float32; float32 of inputs with 10 bits; bfloat16 by autocast.

Weights, statistics, losses and alignment are float32 in all of them.
"""

_Call = TypeVar("_Call", bound=Callable[..., Tensor])
_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def prepare_torch(threads: int, deterministic: bool, precision: Precision = "fp32") -> None:
    """Set up this process: threads, what is chosen by timing, and the precision of what has no other (gradients)."""
    torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    _allow_tf32(precision == "tf32")


@contextmanager
def computed_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute products and convolutions inside in this precision; whether gradients are TF32 is for `prepare_torch`."""
    before = torch.backends.cuda.matmul.allow_tf32
    _allow_tf32(precision == "tf32")
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        _allow_tf32(before)


def _allow_tf32(allow: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allow
    torch.backends.cudnn.allow_tf32 = allow


def fast_layout(device: torch.device) -> bool:
    """Tell whether convolutions run with the channels last: on a GPU, unless bits must repeat."""
    return device.type == "cuda" and not torch.are_deterministic_algorithms_enabled()


def channels_last(x: Tensor) -> Tensor:
    """Lay out images [N, C, H, W], video [N, C, T, H, W] or a convolution's weight as its device likes it best."""
    return x.contiguous(memory_format=_LAST[x.dim()]) if x.dim() in _LAST and fast_layout(x.device) else x


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, its weights in the layout of `channels_last`; it is changed in place."""
    network.to(device)
    for parameter in network.parameters():
        parameter.data = channels_last(parameter.data)
    return network


def compiled(call: _Call, wanted: bool) -> _Call:
    """Give torch.compile's form of a part of a network where that is wanted. UserError without a C compiler."""
    if not wanted or torch.are_deterministic_algorithms_enabled():
        return call
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        raise UserError("compile true: torch.compile needs a C compiler here; install gcc, or set compile false")
    return torch.compile(call)  # type: ignore[return-value]
