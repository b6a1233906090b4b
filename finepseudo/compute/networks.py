"""Precision, layout, compilation and repeatable bits of a process and its networks.

`deterministic` wins over speed: it leaves cuDNN no choice by timing, keeps the plain layout and compiles nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec, TypeVar

import torch
import torch.utils.deterministic
from torch import Tensor, nn

from finepseudo.compute.config import Precision
from shards.errors import UserError

_P = ParamSpec("_P")
_Network = TypeVar("_Network", bound=nn.Module)
_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def prepare_torch(threads: int, deterministic: bool, precision: Precision = "fp32") -> None:
    """Set up this process: threads, what is chosen by timing, and the precision of what has no other (gradients)."""
    torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # nothing reads new memory: NaN in every new tensor would be a pass over it
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    _allow_tf32(precision == "tf32")


@contextmanager
def computed_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute products and convolutions inside in this precision; whether gradients are TF32 is for `prepare_torch`."""
    if torch.compiler.is_exporting():  # exported programs are float32; a region of autocast cannot be read back
        yield
        return
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


def placed(network: _Network, device: torch.device) -> _Network:
    """Move a network to a device, its weights in the layout of `channels_last`; it is changed in place."""
    network.to(device)
    for parameter in network.parameters():
        parameter.data = channels_last(parameter.data)
    return network


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Bring what the host has made to a device: to a GPU from pinned memory, so that the host does not wait for it."""
    pinned = device.type == "cuda" and x.device.type == "cpu"
    return (x.pin_memory() if pinned else x).to(device, non_blocking=True)


class Compiled(Generic[_P]):
    """torch.compile's form of a method of a network; a copy of the network compiles its own."""

    def __init__(self, call: Callable[_P, Tensor]) -> None:
        """Compile `call` when it is first used."""
        self._call, self._compiled = call, torch.compile(call)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        """Compute it."""
        return self._compiled(*args, **kwargs)

    def __reduce__(self) -> tuple[type[Compiled[_P]], tuple[Callable[_P, Tensor]]]:
        """Be copied with the network: what torch compiled keeps to the tensors of the first one."""
        return type(self), (self._call,)


def compiled(call: Callable[_P, Tensor], wanted: bool) -> Callable[_P, Tensor]:
    """Give torch.compile's form of a method of a network where that is wanted. UserError without a C compiler."""
    if not wanted or torch.are_deterministic_algorithms_enabled():
        return call
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        raise UserError("compile = true: torch.compile needs a C compiler here; install gcc, or set compile to false")
    return Compiled(call)
