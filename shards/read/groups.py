"""Groups of frames that share out a clip: their slots and a view of each. No numpy: the command line reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shards.read.config import ViewConfig


def group_slots(groups: Sequence[int], segments: int) -> list[list[int]]:
    """Share the segments 0..segments-1 of a clip out to the groups, the last one first: a disjoint interleaved cover.

    A group of k slots takes, going up, the first free segment at or after its share of the clip, taken * segments / k.
    A group for which too few are left gets none. Source: SeFAR, dual-level temporal elements.

    >>> group_slots([2, 2, 4], 8)
    [[3, 7], [1, 5], [0, 2, 4, 6]]
    """
    free, slots = list(range(segments)), []
    for size in reversed(groups):
        taken: list[int] = []
        for segment in free:
            if len(taken) < size and segment * size >= len(taken) * segments:
                taken.append(segment)
        slots.append(taken if len(taken) == size else [])
        free = [segment for segment in free if segment not in slots[-1]]
    return slots[::-1]


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


def long_view(view: ViewConfig, times: int) -> ViewConfig:
    """Show `times` as many frames, spread over the whole clip, to be cut into parts of the length that `view` has."""
    return replace(view, sampling=replace(view.sampling, policy="uniform", frames=times * view.sampling.frames))


def group_sizes(groups: Sequence[int], frames: int) -> tuple[int, ...]:
    """Give the sizes of the groups of a clip of `frames`; none given = a quarter, a quarter and half, as [2, 2, 4]."""
    quarter = frames // 4
    return tuple(groups) or (quarter, quarter, frames - 2 * quarter)
