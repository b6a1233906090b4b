"""SeFAR's dual-level groups: which segments each group has, which frame of a segment, and what a short clip gives."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.read.config import SamplingConfig
from shards.read.groups import group_slots
from shards.read.sampling import frame_indices

GROUPS = st.lists(st.integers(1, 8), min_size=1, max_size=5)


def config(groups: list[int], views: int = 1) -> SamplingConfig:
    return SamplingConfig(policy="groups", frames=sum(groups), groups=tuple(groups), views=views)


def parts(ids: np.ndarray, groups: list[int]) -> list[list[int]]:
    return [part.tolist() for part in np.split(ids, np.cumsum(groups)[:-1])]


@pytest.mark.parametrize(
    ("groups", "slots"),
    [
        ([2, 2, 4], [[3, 7], [1, 5], [0, 2, 4, 6]]),
        ([4, 4], [[1, 3, 5, 7], [0, 2, 4, 6]]),
        ([2, 6], [[1, 5], [0, 2, 3, 4, 6, 7]]),
        ([6, 2], [[1, 2, 3, 5, 6, 7], [0, 4]]),
        ([2, 2, 2, 2], [[3, 7], [2, 6], [1, 5], [0, 4]]),
        ([1, 1, 2, 4], [[7], [3], [1, 5], [0, 2, 4, 6]]),
        ([4, 4, 8], [[3, 7, 11, 15], [1, 5, 9, 13], [0, 2, 4, 6, 8, 10, 12, 14]]),
    ],
)
def test_the_published_groups_get_the_known_segments(groups: list[int], slots: list[list[int]]) -> None:
    assert group_slots(groups, sum(groups)) == slots
    assert parts(frame_indices(sum(groups), config(groups), None)[0], groups) == slots


@given(groups=GROUPS)
def test_groups_of_a_long_clip_share_the_segments_out_without_a_rest(groups: list[int]) -> None:
    slots = group_slots(groups, sum(groups))
    assert [len(own) for own in slots] == groups
    assert sorted(slot for own in slots for slot in own) == list(range(sum(groups)))


@given(groups=GROUPS, n=st.integers(1, 200), views=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_frame_exists_and_goes_forward_in_its_group(groups: list[int], n: int, views: int, seed: int) -> None:
    cfg = config(groups, views)
    for rng in (None, np.random.default_rng(seed)):
        ids = frame_indices(n, cfg, rng)
        assert ids.shape == (cfg.count, sum(groups)) == (views, sum(groups))
        assert 0 <= ids.min() <= ids.max() < n
        for view in ids:
            assert all(a <= b for part in parts(view, groups) for a, b in pairwise(part))
            if n >= sum(groups):
                assert len(set(view.tolist())) == sum(groups)
            elif n >= groups[-1]:  # the context group always has frames of its own
                assert len(set(view[-groups[-1] :].tolist())) == groups[-1]


@given(groups=GROUPS, more=st.integers(0, 150), seed=st.integers(0, 99))
def test_a_frame_lies_in_its_segment_and_any_frame_of_it_may_come(groups: list[int], more: int, seed: int) -> None:
    total = sum(groups)
    n = total + more
    chosen = [slot for own in group_slots(groups, total) for slot in own]
    ids = frame_indices(n, config(groups), np.random.default_rng(seed))[0]
    for slot, frame in zip(chosen, ids.tolist(), strict=True):
        assert int(slot * n / total + 0.5) <= frame <= int((slot + 1) * n / total + 0.5) - 1


def test_training_reaches_every_frame_and_draws_each_view_again() -> None:
    rng = np.random.default_rng(0)
    drawn = [frame_indices(40, config([2, 2, 4], views=2), rng) for _ in range(200)]
    assert {int(frame) for ids in drawn for frame in ids.ravel()} == set(range(40))
    assert sum((ids[0] == ids[1]).all() for ids in drawn) < 5


def test_evaluation_takes_the_middles_and_spreads_its_views_over_the_segments() -> None:
    middle = frame_indices(40, config([2, 2, 4]), None)[0]
    assert parts(middle, [2, 2, 4]) == [[17, 37], [7, 27], [2, 12, 22, 32]]
    spread = frame_indices(40, config([2, 2, 4], views=5), None)
    assert spread[:, 0].tolist() == [15, 16, 17, 18, 19]


def test_short_clips_follow_their_rule() -> None:
    """[2, 2, 4]: below 8 frames the first group has no segment left, below 4 frames repeat."""
    cfg = config([2, 2, 4])
    assert parts(frame_indices(7, cfg, None)[0], [2, 2, 4])[1:] == [[1, 5], [0, 2, 4, 6]]
    assert parts(frame_indices(7, cfg, None)[0], [2, 2, 4])[0] == [1, 5]
    assert parts(frame_indices(4, cfg, None)[0], [2, 2, 4])[2] == [0, 1, 2, 3]
    assert frame_indices(2, cfg, None)[0, 4:].tolist() == [0, 0, 1, 1]
    assert frame_indices(1, cfg, np.random.default_rng(0))[0].tolist() == [0] * 8
    free = {tuple(frame_indices(6, cfg, np.random.default_rng(s))[0, :2].tolist()) for s in range(60)}
    assert free == {(a, b) for a in (0, 1, 2) for b in (3, 4, 5)}


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"policy": "groups"}, r"groups = \[\]: goes with policy groups"),
        ({"groups": (2, 2, 4), "frames": 8}, "goes with policy groups, and only with it"),
        ({"policy": "groups", "groups": (2, 2), "frames": 8}, "must add up to frames, 8"),
        ({"policy": "groups", "groups": (0, 8), "frames": 8}, r"groups = \[0, 8\]: must be at least 1"),
    ],
)
def test_groups_without_a_meaning_are_refused(options: dict[str, object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        SamplingConfig(**options)  # type: ignore[arg-type]
