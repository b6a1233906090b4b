from __future__ import annotations

from itertools import combinations
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.consistency.perturb import (
    Perturbation,
    drop_channels,
    flip_channels,
    perturbed,
)

SEFAR = [[3, 7], [1, 5], [0, 2, 4, 6]]
KINDS = get_args(Perturbation)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_moderate_perturbation_reverses_fine_groups_and_leaves_the_context() -> None:
    once = perturbed(SEFAR, "reverse", rng())
    assert once == [[7, 3], [5, 1], [0, 2, 4, 6]]
    assert perturbed(once, "reverse", rng()) == SEFAR


@given(st.sampled_from(KINDS), st.integers(0, 200))
def test_every_kind_shows_slots_of_the_clip_in_the_shape_of_the_groups(kind: Perturbation, seed: int) -> None:
    shown = perturbed(SEFAR, kind, rng(seed))
    assert [len(group) for group in shown] == [2, 2, 4]
    assert all(0 <= slot < 8 for group in shown for slot in group)
    if kind in ("reverse", "local_shuffle"):
        assert shown[2] == SEFAR[2]
        assert [sorted(group) for group in shown] == SEFAR
    in_time = [
        slot
        for _, slot in sorted((at, s) for a, b in zip(SEFAR, shown, strict=True) for at, s in zip(a, b, strict=True))
    ]
    if kind in ("none", "warping", "t_half", "slow", "t_drop"):
        assert in_time == sorted(in_time)  # order is kept, slots repeat
    if kind in ("all_reverse", "all_shuffle"):
        assert sorted(in_time) == list(range(8))
    if kind == "all_reverse":
        assert in_time == list(range(8))[::-1]


def test_what_is_kept() -> None:
    whole = [list(range(8))]
    counts = {len(set(perturbed(whole, "warping", rng(seed))[0])) for seed in range(60)}
    assert counts == {2, 4, 8}
    halves = {tuple(perturbed(whole, "t_half", rng(seed))[0]) for seed in range(20)}
    assert halves == {(0, 1, 2, 3, 3, 3, 3, 3), (4, 4, 4, 4, 4, 5, 6, 7)}
    slow = {tuple(perturbed(whole, "slow", rng(seed))[0]) for seed in range(60)}
    assert slow == {tuple(start + i // 2 for i in range(8)) for start in range(5)}
    assert all(perturbed(whole, "t_drop", rng(seed))[0][0] == 0 for seed in range(20))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [[[0]], [[0, 1]], [[0, 1, 2]]])
def test_short_clips_of_one_group(kind: Perturbation, groups: list[list[int]]) -> None:
    for seed in range(10):
        assert len(perturbed(groups, kind, rng(seed))[0]) == len(groups[0])


def test_channels() -> None:
    frames = torch.randn(3, 4, 3, 5, 5)
    assert torch.equal(flip_channels(frames)[:, :, 0], frames[:, :, 2])


@pytest.mark.parametrize("groups", [[[0, 1, 2, 3]], [[1, 3], [0, 2]], [[3], [1], [0, 2]]])
def test_colour_planes_are_dropped_group_by_group(groups: list[list[int]]) -> None:
    dropped = drop_channels(torch.ones(4000, 4, 3, 1, 1), 0.2, groups, torch.Generator().manual_seed(1))
    planes = dropped[:, :, :, 0, 0]
    assert set(planes.unique().tolist()) == {0.0, 1.25}
    gone = planes == 0
    for one, two in combinations(range(4), 2):
        together = (gone[:, one] & gone[:, two]).float().mean().item()
        alike = any({one, two} <= set(group) for group in groups)
        assert torch.equal(gone[:, one], gone[:, two]) == alike
        assert together == pytest.approx(0.2 if alike else 0.04, abs=0.015)
