"""What is seen of a clip: a list of named views, each with frames and augmentation of its own, all from one decode.

Every view draws from a generator of its own, made of the sample's seed and the view's name. So a view is the same
whatever other views the stream has, and in whatever order; views that name another one share its random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np

from shards.read.augment import AugmentConfig, AugmentParams, draw
from shards.read.sampling import FrameIds, SamplingConfig, frame_indices
from shards.types import ONLY


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewConfig:
    """One view of a clip: V choices of T frames, as `[B, V, T, C, H, W]` under its name in a batch.

    V counts what the frame policy chooses (2 of `gitdl`, `sampling.views` of the others) times the crops.
    """

    # Name in the batch, one of its own in its stream.
    name: str = ONLY
    # Which frames.
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    # From a frame to the encoder's input.
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    # The view whose random numbers choose the frames: with the same sampling both show the same ones; "" = its own.
    frames_as: str = ""
    # The view whose random numbers crop, mirror and colour it: with the same ranges both are cut alike; "" = its own.
    augment_as: str = ""
    # The one group of frames that is shown of `sampling.groups`; none = all, one after the other.
    group: int | None = None

    def __post_init__(self) -> None:
        """Refuse a view that nothing can be shown of."""
        if not self.name:
            raise ValueError("view.name is empty: give the view a name")
        groups = len(self.sampling.groups)
        if self.group is not None and not 0 <= self.group < groups:
            raise ValueError(f"view {self.name}: group = {self.group}: sampling.groups has {groups} groups")

    @property
    def takes(self) -> int:
        """Count the choices of frames."""
        return self.sampling.count

    @property
    def count(self) -> int:
        """Count V: the choices of frames times the crops."""
        return self.takes * self.augment.crops

    @property
    def frames(self) -> int:
        """Count T, the frames of a choice."""
        return self.sampling.frames if self.group is None else self.sampling.groups[self.group]

    def shown(self, ids: FrameIds) -> FrameIds:
        """Keep those of the frames [takes, all of the policy] that this view shows: [takes, T]."""
        if self.group is None:
            return ids
        start = sum(self.sampling.groups[: self.group])
        return ids[:, start : start + self.frames]


@dataclass(frozen=True, slots=True)
class DrawnView:
    """The numbers of one view of one clip: frame ids [takes, T] and one set of parameters for each of V."""

    ids: FrameIds
    params: Sequence[AugmentParams]


def group_views(view: ViewConfig, *, share_augment: bool = False) -> tuple[ViewConfig, ...]:
    """Make a view of each group of `view`, whose policy is `groups`; they are drawn together, so no two share a frame.

    Group i is called `name.i` and has its own T. share_augment: all are cropped, mirrored and coloured alike.
    Source: SeFAR, dual-level temporal elements.
    """
    first = f"{view.name}.0"
    return tuple(
        replace(
            view,
            name=f"{view.name}.{group}",
            frames_as=view.frames_as or (first if group else ""),
            augment_as=view.augment_as or (first if group and share_augment else ""),
            group=group,
        )
        for group in range(len(view.sampling.groups))
    )


def check_views(views: Sequence[ViewConfig]) -> None:
    """Refuse a list without a view, with one name twice, or that refers to a view which is not in it."""
    names = [view.name for view in views]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"views = {names}: one or more are needed, each with a name of its own")
    for view in views:
        for other in (view.frames_as, view.augment_as):
            if other and other not in names:
                raise ValueError(f"view {view.name} refers to view {other}, which is not among {', '.join(names)}")


def draw_views(views: Sequence[ViewConfig], n_frames: int, seed: tuple[int, ...] | None) -> list[DrawnView]:
    """Draw the frames and parameters of every view of a clip of `n_frames`; seed None = evaluation, nothing random."""
    own = {view.name: _generator(seed, view.name) for view in views}
    ids = [
        frame_indices(n_frames, view.sampling, _generator(seed, view.frames_as) if view.frames_as else own[view.name])
        for view in views
    ]
    drawn = []
    for view, chosen in zip(views, ids, strict=True):
        rng = deepcopy(own[view.augment_as or view.name])  # others may need the same numbers
        params = [draw(view.augment, rng, place) for place in range(view.count)]
        drawn.append(DrawnView(view.shown(chosen), params))
    return drawn


def _generator(seed: tuple[int, ...] | None, name: str) -> np.random.Generator | None:
    """Make a view's generator; that of an only view is the sample's own."""
    if seed is None:
        return None
    return np.random.default_rng(seed if name == ONLY else (*seed, *name.encode()))
