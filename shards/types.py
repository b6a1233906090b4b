"""The words every floor speaks: items to read and batches of frames.

Shapes: B clips, V views of a clip, T frames of a view, C colour channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # tables and plans speak these words too, and need no torch
    import torch
    from torch import Tensor

NO_LABEL = -1
"""Label of a clip whose class training code must not know (unlabelled) or that has none."""

ROLES = ("labelled", "unlabelled", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemTable:
    """What a reader may read: keys [N], labels [N] (NO_LABEL when unknown) and which are pseudo-labels [N]."""

    keys: Sequence[str]
    labels: npt.NDArray[np.int32]
    pseudo: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Refuse columns of different length."""
        if not len(self.keys) == len(self.labels) == len(self.pseudo):
            raise ValueError(f"columns differ: {len(self.keys)}, {len(self.labels)}, {len(self.pseudo)} rows")

    def __len__(self) -> int:
        """Count the items."""
        return len(self.keys)

    @staticmethod
    def unlabelled(keys: Sequence[str]) -> ItemTable:
        """Make items that carry no label."""
        n = len(keys)
        return ItemTable(keys=keys, labels=np.full(n, NO_LABEL, np.int32), pseudo=np.zeros(n, np.bool_))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipBatch:
    """Decoded clips of one batch. A failed clip keeps its slot with `valid` False and zero frames.

    frames: float32 [B, V, T, C, H, W], normalised; frame_ids: int64 [B, V, T], indices into the clip;
    n_frames: int64 [B], true length of the clip; labels: int64 [B]; pseudo, valid: bool [B].
    """

    keys: tuple[str, ...]
    frames: Tensor
    frame_ids: Tensor
    n_frames: Tensor
    labels: Tensor
    pseudo: Tensor
    valid: Tensor

    def to(self, device: torch.device | str) -> ClipBatch:
        """Move every tensor."""
        return replace(
            self,
            frames=self.frames.to(device, non_blocking=True),
            frame_ids=self.frame_ids.to(device),
            n_frames=self.n_frames.to(device),
            labels=self.labels.to(device),
            pseudo=self.pseudo.to(device),
            valid=self.valid.to(device),
        )
