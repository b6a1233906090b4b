"""Checks of arguments: each refusal is a `ValueError` that names the argument, the value and the rule."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Normalize = Literal["none", "T", "2T"]
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def embeddings(name: str, value: Tensor, dims: int = 3) -> None:
    """Refuse anything but a floating tensor [B, T, F] (or [T, F] for `dims` 2) with T and F at least 1."""
    shape = "[B, T, F]" if dims == 3 else "[T, F]"
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; it must be a tensor {shape}")
    if value.dtype not in FLOATS:
        raise ValueError(f"{name} has dtype {value.dtype}; it must be one of float16, bfloat16, float32, float64")
    if value.dim() != dims or min(value.shape[-2:]) < 1:
        raise ValueError(f"{name} has shape {list(value.shape)}; it must be {shape} with T >= 1 and F >= 1")


def same_features(name: str, value: Tensor, features: int, device: torch.device) -> None:
    """Refuse two sides with different F or on different devices."""
    if value.shape[-1] != features:
        raise ValueError(f"{name} has F = {value.shape[-1]} features a frame, the other side has {features}")
    if value.device != device:
        raise ValueError(f"{name} is on {value.device}, the other side is on {device}; move one of them")


def gamma_value(gamma: float) -> float:
    """Refuse a smoothing that is not a finite number above zero."""
    value = float(gamma)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"gamma is {gamma}; it must be finite and greater than 0 (use hard_path for gamma = 0)")
    return value


def lengths_tensor(name: str, lengths: Tensor | None, count: int, frames: int, device: torch.device) -> Tensor:
    """Return int64 lengths [count] on `device`; None means every video has all its `frames` frames.

    They are looked at where they are: lengths on a CUDA device make this wait for it, others do not.
    """
    if lengths is None:
        return torch.full((count,), frames, dtype=torch.int64, device=device)
    value = torch.as_tensor(lengths)
    if value.shape != (count,) or value.dtype.is_floating_point or value.dtype == torch.bool:
        raise ValueError(f"{name} is {value.dtype} {list(value.shape)}; it must be integers [{count}], one per video")
    value = value.to(torch.int64)
    if count and not (int(value.min()) >= 1 and int(value.max()) <= frames):
        span = f"{int(value.min())}..{int(value.max())}"
        raise ValueError(f"{name} spans {span}; every length must be in 1..{frames}, the frames given")
    return value.to(device, non_blocking=True)


def normalize_value(normalize: str) -> None:
    """Refuse an unknown length normalisation."""
    if normalize not in get_args(Normalize):
        raise ValueError(f"normalize is {normalize!r}; it must be one of {', '.join(get_args(Normalize))}")
