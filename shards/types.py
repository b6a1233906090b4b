"""The words every floor speaks: items to read and batches of frames.

Shapes: B clips, V views of a clip, T frames of a view, C colour channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # tables and plans speak these words too, and need no torch
    import torch
    from torch import Tensor

NO_LABEL = -1
"""Label of a clip whose class training code must not know (unlabelled) or that has none."""

ROLES = ("labelled", "unlabelled", "test", "held_out")
"""`held_out`: labelled clips that nothing trains on, for choices (a bar, a vote) that test clips must not make."""


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


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a view comes from, on the host: frame_ids int64 [B, V, T], edges float32 [B, V, 4].

    edges: its left, top, right and bottom edge as shares of the clip's frame; mirrored, its left edge is the larger.
    """

    frame_ids: Tensor
    edges: Tensor

    def rows(self, rows: Sequence[int]) -> Origin:
        """Pick clips."""
        return Origin(rows_of(self.frame_ids, rows), rows_of(self.edges, rows))


@dataclass(frozen=True, slots=True)
class View:
    """One view of the clips of a batch; T, H and W are its own.

    frames: float32 [B, V, T, C, H, W], normalised; frame_ids: int64 [B, V, T], indices into the clip; origin: where the
    view comes from, where a reader says so.
    """

    frames: Tensor
    frame_ids: Tensor
    origin: Origin | None = None

    def to(self, device: torch.device | str, *, ahead: bool) -> View:
        """Move frames and their indices; ahead: without waiting for it. The origin stays on the host."""
        frames, ids = (x.to(device, non_blocking=ahead) for x in (self.frames, self.frame_ids))
        return View(frames, ids, self.origin)

    def rows(self, rows: Sequence[int]) -> View:
        """Pick clips."""
        origin = None if self.origin is None else self.origin.rows(rows)
        return View(rows_of(self.frames, rows), rows_of(self.frame_ids, rows), origin)


def only_view(frames: Tensor, frame_ids: Tensor) -> dict[str, View]:
    """Make the views of a batch that has a single one."""
    return {"only": View(frames, frame_ids)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipBatch:
    """Decoded clips of one batch. A failed clip keeps its slot with `valid` False and zero frames in every view.

    views: by name, in the order of the stream; n_frames: int64 [B], true length of the clip; labels: int64 [B];
    pseudo, valid: bool [B]. `valid` stays on the host, which decides by it what the network sees.
    """

    keys: tuple[str, ...]
    views: Mapping[str, View]
    n_frames: Tensor
    labels: Tensor
    pseudo: Tensor
    valid: Tensor

    @property
    def only(self) -> View:
        """The view of a batch that has a single one; ValueError where there are several."""
        if len(self.views) != 1:
            raise ValueError(f"the batch has the views {', '.join(self.views)}: name one of them")
        return next(iter(self.views.values()))

    @property
    def frames(self) -> Tensor:
        """Frames [B, V, T, C, H, W] of the only view."""
        return self.only.frames

    @property
    def frame_ids(self) -> Tensor:
        """Frame indices [B, V, T] of the only view."""
        return self.only.frame_ids

    def to(self, device: torch.device | str) -> ClipBatch:
        """Move every tensor but `valid`; to a GPU without waiting for it, where they lie in pinned memory."""
        ahead = str(device).startswith("cuda")
        return replace(
            self,
            views={name: view.to(device, ahead=ahead) for name, view in self.views.items()},
            **{name: getattr(self, name).to(device, non_blocking=ahead) for name in ("n_frames", "labels", "pseudo")},
        )

    def sound(self) -> ClipBatch:
        """Leave out the clips that are not valid: the batch itself where all are. Never waits for a GPU."""
        rows = [row for row, valid in enumerate(self.valid.tolist()) if valid]
        if len(rows) == len(self.keys):
            return self
        return replace(
            self,
            keys=tuple(self.keys[row] for row in rows),
            views={name: view.rows(rows) for name, view in self.views.items()},
            **{name: rows_of(getattr(self, name), rows) for name in ("n_frames", "labels", "pseudo", "valid")},
        )


def rows_of(x: Tensor, rows: Sequence[int]) -> Tensor:
    """Pick rows of a tensor by numbers of the host; a mask or an index tensor would have to cross to the device."""
    import torch

    return torch.stack([x[row] for row in rows]) if rows else x[:0]
