"""What is seen of a clip: a list of named views, each with frames and augmentation of its own, all from one decode.

Every view draws from a generator of its own, made of the sample's seed and the view's name. So a view is the same
whatever other views the stream has, and in whatever order; views that name another one share its random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from shards.read.augment import AugmentParams, draw
from shards.read.config import ONLY, ViewConfig
from shards.read.sampling import FrameIds, frame_indices


@dataclass(frozen=True, slots=True)
class DrawnView:
    """The numbers of one view of one clip: frame ids [takes, T] and one set of parameters for each of V."""

    ids: FrameIds
    params: Sequence[AugmentParams]


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
        drawn.append(DrawnView(_shown(view, chosen), params))
    return drawn


def distinct_places(drawn: DrawnView, height: int, width: int) -> list[int]:
    """List those of the V places of a view that show something new of a clip of `height` x `width` pixels, ascending.

    V counts the crops of a choice of frames one after the other. A short clip has the same frames at several places, a
    square one the same crop; a place counts as seen where frames and window are those of one before it.
    """
    crops = len(drawn.params) // len(drawn.ids)
    seen: dict[tuple[bytes, bytes, bytes], int] = {}
    for place, params in enumerate(drawn.params):
        start, end = params.window(height, width)
        seen.setdefault((drawn.ids[place // crops].tobytes(), start.tobytes(), end.tobytes()), place)
    return list(seen.values())


def _shown(view: ViewConfig, ids: FrameIds) -> FrameIds:
    """Keep those of the frames [takes, all of the policy] that a view shows: [takes, T]."""
    if view.group is None:
        return ids
    start = sum(view.sampling.groups[: view.group])
    return ids[:, start : start + view.frames]


def _generator(seed: tuple[int, ...] | None, name: str) -> np.random.Generator | None:
    """Make a view's generator; that of an only view is the sample's own."""
    if seed is None:
        return None
    return np.random.default_rng(seed if name == ONLY else (*seed, *name.encode()))
