"""A video in parts of equal length, one after the other. No torch at the top: the command line reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PARTS = 4
"""P, clips of a video that are compared or told apart (TCLR and TimeBalance: 4)."""


def parts_of(frames: Tensor) -> Tensor:
    """Cut frames [B, P T, C, H, W] into P parts of time: [B, P, T, C, H, W]."""
    return frames.reshape(len(frames), PARTS, frames.shape[1] // PARTS, *frames.shape[2:])


def whole_of(frames: Tensor) -> Tensor:
    """Thin frames [B, P T, C, H, W] out to T that span the whole video: [B, T, C, H, W]."""
    return frames[:, PARTS // 2 :: PARTS]
