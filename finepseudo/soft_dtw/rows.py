"""From embeddings to unit rows: the cost of two frames is then 1 minus a dot product."""

from __future__ import annotations

import torch
from torch import Tensor


def working_dtype(value: Tensor) -> torch.dtype:
    """Return the dtype of the recursion: float64 for float64 input, else float32 (16-bit input is cast up)."""
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def unit_rows(value: Tensor, lengths: Tensor) -> Tensor:
    """Divide each frame of [B, T, F] by its norm; zero the frames from `lengths` [B] on. Differentiable.

    A frame of norm zero stays zero (cosine 0, cost 1) and gets no gradient. Rows are first divided by their
    largest entry, so that no square overflows; what lies beyond a length, NaN too, has no effect.
    """
    value = value.to(working_dtype(value))
    frames = torch.arange(value.shape[1], device=value.device)
    value = torch.where((frames < lengths[:, None])[..., None], value, 0.0)
    largest = value.detach().abs().amax(dim=-1, keepdim=True)
    value = value / torch.where(largest == 0, 1.0, largest)
    norm = torch.linalg.vector_norm(value, dim=-1, keepdim=True)
    return value * torch.where(norm == 0, 0.0, 1.0 / torch.where(norm == 0, 1.0, norm))


def path_scale(x_len: Tensor, y_len: Tensor, normalize: str) -> Tensor:
    """Return what D [B, B'] is divided by: "T" the mean of the two lengths, "2T" their sum."""
    total = (x_len[:, None] + y_len[None, :]).to(torch.float64)
    return total if normalize == "2T" else total / 2
