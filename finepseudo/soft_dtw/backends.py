"""Which backend computes: an explicit name, or for "auto" the fastest one that fits the tensors."""

from __future__ import annotations

import importlib.util
import os

import torch

from finepseudo.soft_dtw import native

NAMES = ("auto", "reference", "torch", "cpu", "triton")
TRITON_FEATURES = 512
"""The Triton kernels keep a whole frame of many videos in shared memory."""
TRITON_LONGEST = 64
"""Frames of the longest video that they train on: longer tables do not fit into the registers of a program."""


def is_triton(backend: str) -> bool:
    """Tell whether a resolved name means the Triton kernels."""
    return backend == "triton"


def is_native(backend: str) -> bool:
    """Tell whether a resolved name means the compiled CPU code."""
    return backend.startswith("cpu")


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def resolve(backend: str, device: torch.device, dtype: torch.dtype, features: int) -> str:
    """Return the backend to use for tensors of `dtype` (of the recursion) and `features` a frame on `device`.

    "auto" is `cpu` for float32 on a CPU when the compiled code is there, `triton` for float32 of at most
    512 features on a CUDA device when Triton is installed, else `torch`. A name such as "cpu-avx2" asks for one
    instruction set of those the processor has. Raises ValueError when a named backend cannot be used.
    """
    if backend == "auto":
        fits = device.type == "cpu" and dtype == torch.float32
        if device.type == "cuda" and dtype == torch.float32 and features <= TRITON_FEATURES and has_triton():
            return "triton"
        return f"cpu-{native.best_isa()}" if fits and native.available() else "torch"
    if is_native(backend):
        return _resolve_native(backend, device, dtype)
    if backend not in NAMES:
        raise ValueError(f"backend is {backend!r}; it must be one of {', '.join(NAMES)}")
    if is_triton(backend):
        _check_triton(backend, device, dtype, features)
    return backend


def has_triton() -> bool:
    """Tell whether the optional package triton is installed."""
    return importlib.util.find_spec("triton") is not None


def _check_triton(backend: str, device: torch.device, dtype: torch.dtype, features: int) -> None:
    if not has_triton():
        raise ValueError(f"backend is {backend!r} but the package triton is not installed; use 'auto' or 'torch'")
    if dtype != torch.float32:
        raise ValueError(f"backend is {backend!r} for {dtype}; it takes float32: use 'torch'")
    if features > TRITON_FEATURES:
        raise ValueError(f"backend is {backend!r} for F = {features}; it takes at most {TRITON_FEATURES}: use 'torch'")
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"backend is {backend!r} for tensors on {device}; it takes tensors on a CUDA device")


def _resolve_native(backend: str, device: torch.device, dtype: torch.dtype) -> str:
    if device.type != "cpu" or dtype != torch.float32:
        raise ValueError(f"backend is {backend!r} for {dtype} on {device}; it takes float32 on a CPU: use 'torch'")
    if not native.available():
        raise ValueError(f"backend is {backend!r} but the compiled code is missing: {native.why_missing()}")
    if backend == "cpu":
        return f"cpu-{native.best_isa()}"
    if backend.removeprefix("cpu-") not in native.isas():
        have = ", ".join(f"cpu-{name}" for name in native.isas())
        raise ValueError(f"backend is {backend!r}; this processor has {have}")
    return backend
