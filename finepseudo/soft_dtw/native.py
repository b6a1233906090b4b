"""Backend `cpu` (placeholder until the compiled code lands: it reports itself missing)."""

# ruff: noqa: PLR0917 - the operators of torch.library take every argument by position

from __future__ import annotations

import torch
from torch import Tensor


def available() -> bool:
    """Tell whether the compiled code can be used."""
    return False


def why_missing() -> str:
    """Say why it cannot."""
    return "not built"


def isas() -> tuple[str, ...]:
    """Name the instruction sets this processor has, best first."""
    return ()


def best_isa() -> str:
    """Name the best of them."""
    return isas()[0]


def pairwise(x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str) -> Tensor:
    """Return D [B, B']."""
    raise NotImplementedError


def pairwise_backward(
    grad: Tensor, x: Tensor, y: Tensor | None, x_len: Tensor, y_len: Tensor, gamma: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `pairwise`."""
    raise NotImplementedError


def against_bank(
    u: Tensor, u_len: Tensor, operand: Tensor, order: Tensor, g_len: Tensor, gamma: float, backend: str
) -> Tensor:
    """Return D [U, G] against a packed bank."""
    raise NotImplementedError


def pack(unit: Tensor, lengths: Tensor, dtype: torch.dtype, backend: str) -> tuple[Tensor, Tensor]:
    """Pack unit rows."""
    raise NotImplementedError
