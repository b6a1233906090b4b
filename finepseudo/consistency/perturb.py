"""Temporal perturbations of a clip that is cut into groups of frames, as an order of its time slots.

A clip of N slots (0 is the earliest) is shared out to groups, e.g. `[[3, 7], [1, 5], [0, 2, 4, 6]]`; the last group is
the context. A perturbation says which slot each place of each group shows instead. Sources: SeFAR's moderate
perturbation and the alternatives of its ablation, SVFormer's temporal warping; what T-half, slow and T-drop do exactly
is open in the papers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from finepseudo.compute.networks import sent

Slots = Sequence[Sequence[int]]
Perturbation = Literal[
    "none", "reverse", "local_shuffle", "all_shuffle", "all_reverse", "warping", "t_half", "slow", "t_drop"
]


def perturbed(groups: Slots, kind: Perturbation, rng: np.random.Generator) -> list[list[int]]:
    """Return the slot that each place of each group shows; the shape is that of `groups`."""
    if kind in _LOCAL:
        return [_LOCAL[kind](list(group), rng) for group in groups[:-1]] + [list(groups[-1])]
    order = _WHOLE[kind](sum(map(len, groups)), rng)
    return [[order[slot] for slot in group] for group in groups]


def _reversed(group: list[int], rng: np.random.Generator) -> list[int]:
    """Turn time round inside a fine group: its element plays backwards, the action as a whole does not."""
    del rng
    return group[::-1]


def _shuffled(group: list[int], rng: np.random.Generator) -> list[int]:
    return [group[i] for i in rng.permutation(len(group))]


def _none(n: int, rng: np.random.Generator) -> list[int]:
    del rng
    return list(range(n))


def _all_reversed(n: int, rng: np.random.Generator) -> list[int]:
    del rng
    return list(range(n))[::-1]


def _all_shuffled(n: int, rng: np.random.Generator) -> list[int]:
    return [int(slot) for slot in rng.permutation(n)]


def _warped(n: int, rng: np.random.Generator) -> list[int]:
    """SVFormer: keep a quarter, a half or all of the slots; a dropped one shows a kept neighbour, in order.

    Between two kept neighbours the place where the later one takes over is drawn.
    """
    count = max(1, n // int(rng.choice([4, 2, 1])))
    kept = np.sort(rng.choice(n, size=count, replace=False))
    bounds = [0, *(int(rng.integers(a + 1, b + 1)) for a, b in pairwise(kept)), n]
    return [int(slot) for slot, (a, b) in zip(kept, pairwise(bounds), strict=True) for _ in range(a, b)]


def _half(n: int, rng: np.random.Generator) -> list[int]:
    """Keep the first or the second half; the other half stands still at the frame next to it."""
    middle = n // 2
    return [min(i, max(middle - 1, 0)) for i in range(n)] if rng.random() < 0.5 else [max(i, middle) for i in range(n)]


def _slow(n: int, rng: np.random.Generator) -> list[int]:
    """Play half of the clip, from a drawn start on, at half speed."""
    start = int(rng.integers(n - (n + 1) // 2 + 1))
    return [start + i // 2 for i in range(n)]


def _dropped(n: int, rng: np.random.Generator) -> list[int]:
    """Drop every slot but the first with probability 1 / 2; a dropped one shows the one before it."""
    order = [0]
    for slot in range(1, n):
        order.append(slot if rng.random() < 0.5 else order[-1])
    return order


_Order = Callable[[int, np.random.Generator], list[int]]
_LOCAL: dict[str, Callable[[list[int], np.random.Generator], list[int]]] = {
    "reverse": _reversed,
    "local_shuffle": _shuffled,
}
_WHOLE: dict[str, _Order] = {
    "none": _none,
    "all_reverse": _all_reversed,
    "all_shuffle": _all_shuffled,
    "warping": _warped,
    "t_half": _half,
    "slow": _slow,
    "t_drop": _dropped,
}


def picked(frames: Tensor, order: Sequence[int]) -> Tensor:
    """Give the frames [B, T, ...] at these places, by numbers of the host."""
    return torch.stack([frames[:, place] for place in order], dim=1)


def flip_channels(frames: Tensor) -> Tensor:
    """Reverse the colours of frames [..., C, H, W]: what SeFAR's released code does in place of time reversal."""
    return frames.flip(-3)


def perturb_time(kind: Perturbation) -> Callable[[Tensor, Slots, np.random.Generator], Tensor]:
    """Make a perturbation of frames in order of time [B, T, C, H, W], drawn once for the whole batch."""

    def perturb(frames: Tensor, groups: Slots, rng: np.random.Generator) -> Tensor:
        shown = perturbed(groups, kind, rng)
        order = {
            slot: new for own, others in zip(groups, shown, strict=True) for slot, new in zip(own, others, strict=True)
        }
        return picked(frames, [order[slot] for slot in range(frames.shape[1])])

    return perturb


def flip_fine_channels(frames: Tensor, groups: Slots, rng: np.random.Generator) -> Tensor:
    """Reverse the colours of the fine groups of frames in order of time [B, T, C, H, W]; the context stays."""
    del rng
    context = set(groups[-1])
    return torch.stack(
        [frame if slot in context else flip_channels(frame) for slot, frame in enumerate(frames.unbind(1))], dim=1
    )


def drop_channels(frames: Tensor, p: float, groups: Slots, generator: torch.Generator | None = None) -> Tensor:
    """Zero whole colour planes of clips [B, T, C, H, W] with probability p and scale the others by 1 / (1 - p).

    One draw for all frames of a group, of which every slot is in one; each group has a draw of its own.
    """
    kept = torch.rand(len(frames), len(groups), frames.shape[2], 1, 1, generator=generator) >= p
    places = {slot: number for number, group in enumerate(groups) for slot in group}
    by_frame = picked(kept, [places[slot] for slot in range(frames.shape[1])])
    return frames * (sent(by_frame.to(frames.dtype), frames.device) / (1 - p))
