from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.read.config import SamplingConfig
from shards.read.sampling import frame_indices

POLICIES = st.sampled_from(["uniform", "dense", "gitdl", "views"])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(n=st.integers(1, 500), t=st.integers(8, 40), stride=st.integers(1, 5), policy=POLICIES, seed=st.integers(0, 50))
def test_every_policy_stays_inside_the_clip_and_goes_forward(
    n: int, t: int, stride: int, policy: str, seed: int
) -> None:
    cfg = SamplingConfig(policy=policy, frames=t, stride=stride, views=3 if policy == "views" else 1)  # type: ignore[arg-type]
    for generator in (None, rng(seed)):
        ids = frame_indices(n, cfg, generator)
        assert ids.dtype == np.int64
        assert ids.shape == (cfg.count, t)
        assert ids.min() >= 0
        assert ids.max() < n
        assert (np.diff(ids, axis=1) >= 0).all()
        if n >= t:
            assert (np.diff(ids[:1], axis=1) > 0).all() or policy in ("dense", "views")
    assert (frame_indices(n, cfg, None) == frame_indices(n, cfg, None)).all()
    assert (frame_indices(n, cfg, rng(seed)) == frame_indices(n, cfg, rng(seed))).all()


@given(n=st.integers(8, 300), t=st.integers(1, 8), seed=st.integers(0, 50))
def test_uniform_takes_one_frame_of_each_segment(n: int, t: int, seed: int) -> None:
    ids = frame_indices(n, SamplingConfig(frames=t), rng(seed))[0]
    for i, frame in enumerate(ids):
        assert frame < (i + 1) * n // t
        assert frame >= i * n // t


def test_uniform_evaluation_takes_the_middles_and_training_varies() -> None:
    cfg = SamplingConfig(frames=4)
    assert frame_indices(40, cfg, None)[0].tolist() == [5, 15, 25, 35]
    assert len({tuple(frame_indices(40, cfg, rng(s))[0]) for s in range(20)}) > 15


@given(n=st.integers(1, 400), t=st.integers(1, 20), views=st.integers(1, 10))
def test_uniform_views_take_their_place_of_every_segment(n: int, t: int, views: int) -> None:
    ids = frame_indices(n, SamplingConfig(frames=t, views=views), None)
    assert ids.shape == (views, t)
    assert ids.min() >= 0
    assert ids.max() < n
    if n < t:
        return
    for view in range(views):
        for i, frame in enumerate(ids[view].tolist()):
            low, high = i * n // t, (i + 1) * n // t
            assert frame == low + (2 * view + 1) * (high - low) // (2 * views)


def test_uniform_views_span_the_clip_and_differ() -> None:
    ids = frame_indices(160, SamplingConfig(frames=16, views=10), None)
    assert (ids[:, -1] - ids[:, 0] == 150).all()
    assert sorted(ids.ravel().tolist()) == list(range(160))
    drawn = frame_indices(160, SamplingConfig(frames=16, views=2), rng())
    assert not np.array_equal(drawn[0], drawn[1])


def test_dense_is_centred_in_evaluation_and_reaches_both_ends_in_training() -> None:
    cfg = SamplingConfig(policy="dense", frames=4, stride=2)
    assert frame_indices(17, cfg, None)[0].tolist() == [5, 7, 9, 11]
    starts = {int(frame_indices(17, cfg, rng(s))[0, 0]) for s in range(200)}
    assert starts == set(range(11))


@given(n=st.integers(4, 900), t=st.sampled_from([8, 16, 20, 32]), seed=st.none() | st.integers(0, 200))
def test_gitdl_clips_differ_in_start_and_stride_and_share_frames(n: int, t: int, seed: int | None) -> None:
    far, near = frame_indices(n, SamplingConfig(policy="gitdl", frames=t), None if seed is None else rng(seed))
    common = set(far.tolist()) & set(near.tolist())
    assert far[0] < near[0]
    assert near[-1] <= far[-1]
    if n >= 2 * t - 1:
        stride = int(min(max(n // t, 2), t // 4))
        assert set(np.diff(far)) == {stride}
        assert set(np.diff(near)) == {1}
        assert near[0] in far
        assert len(common) == (t - 1) // stride + 1 >= 4
    else:
        assert common == set(near.tolist())
        assert len(common) == (min(n, t) + 1) // 2
        assert far[-1] - far[0] == min(n, t) - 1
        assert max(np.diff(near)) <= 1


@pytest.mark.parametrize(("n", "t"), [(10, 32), (20, 32), (33, 32), (36, 16), (100, 32), (154, 32), (300, 32)])
def test_gitdl_places_alone_find_no_frame(n: int, t: int) -> None:
    """Whoever knows the place of a frame in the global clip and guesses its partner is right little above chance."""
    seen: dict[int, Counter[int]] = {}
    asked, chance, cfg = 0, 0.0, SamplingConfig(policy="gitdl", frames=t)
    for seed in range(1500):
        far, near = (ids.tolist() for ids in frame_indices(n, cfg, rng(seed)))
        common = sorted(set(far) & set(near))
        for frame in common:
            seen.setdefault(far.index(frame), Counter())[near.index(frame)] += 1
        asked, chance = asked + len(common), chance + 1
    best = sum(counts.most_common(1)[0][1] for counts in seen.values())
    assert best < 2.3 * chance  # (1 + (K - 1) / starts), with K frames shared; drawn so often, it is found a bit larger


def test_gitdl_of_a_clip_of_one_or_two_frames_has_nothing_to_tell() -> None:
    for n in (1, 2):
        far, near = frame_indices(n, SamplingConfig(policy="gitdl", frames=8), rng())
        assert len(set(far.tolist()) & set(near.tolist())) == 1


def test_gitdl_local_start_is_random_also_in_a_short_clip() -> None:
    cfg = SamplingConfig(policy="gitdl", frames=16)
    for n in (12, 30, 60, 200):
        offsets = {int(np.diff(frame_indices(n, cfg, rng(s))[:, 0])[0]) for s in range(60)}
        assert len(offsets) >= 3, n


@given(n=st.integers(1, 400), t=st.sampled_from([4, 8, 16]), stride=st.integers(1, 3), seed=st.integers(0, 99))
def test_tclr_is_four_clips_in_a_row_and_one_over_all_of_them_twice(n: int, t: int, stride: int, seed: int) -> None:
    ids = frame_indices(n, SamplingConfig(policy="tclr", frames=t, stride=stride), rng(seed))
    assert ids.shape == (10, t)
    assert np.array_equal(ids[:5], ids[5:])
    whole, local = ids[0], ids[1:5].ravel()
    assert np.array_equal(whole, local[::4])
    assert 0 <= local[0] <= local[-1] < n
    if n > 4 * t * stride:
        assert set(np.diff(local)) == {stride}
    else:
        assert set(np.diff(local)) <= set(range(stride + 1))


def test_views_reach_from_the_first_to_the_last_frame() -> None:
    ids = frame_indices(100, SamplingConfig(policy="views", frames=16, stride=2, views=10), None)
    assert ids.shape == (10, 16)
    assert ids[0, 0] == 0
    assert ids[-1, -1] == 99
    assert len(set(np.diff(ids[:, 0]))) <= 2


def test_a_short_clip_repeats_frames_evenly() -> None:
    for policy in ("uniform", "dense", "gitdl", "views"):  # of gitdl, the global clip
        ids = frame_indices(3, SamplingConfig(policy=policy, frames=8), rng())  # type: ignore[arg-type]
        assert ids[0].tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert frame_indices(1, SamplingConfig(frames=5), None)[0].tolist() == [0] * 5


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"0 frames"):
        frame_indices(0, SamplingConfig(), None)
    with pytest.raises(ValueError, match=r"policy dense has its own; set policy uniform, views or groups"):
        SamplingConfig(policy="dense", views=3)
    with pytest.raises(ValueError, match=r"frames = 7: must be at least 8"):
        SamplingConfig(policy="gitdl", frames=7)
    with pytest.raises(ValueError, match=r"policy"):
        SamplingConfig(policy="all")  # type: ignore[arg-type]
