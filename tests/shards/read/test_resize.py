"""Crop and resize of decoded frames, against DALI's resize, which the encoded path uses, and against plain means."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.read.augment import AugmentParams, draw
from shards.read.config import AugmentConfig
from shards.read.resize import views_of


def noise(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Make images with detail at every scale down to the pixel."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def view_of(frames: np.ndarray, order: np.ndarray, params: AugmentParams, size: int) -> np.ndarray:
    return views_of(frames, [order], [params], [size])[0]


def by_dali(frames: np.ndarray, params: AugmentParams, size: int) -> np.ndarray:
    from nvidia.dali import fn, pipeline_def, types

    start, end = params.window(*frames.shape[1:3])

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def define():
        clip = fn.external_source(name="clip", dtype=types.UINT8, ndim=4, layout="FHWC")
        return fn.resize(clip, size=[size, size], roi_start=start.tolist(), roi_end=end.tolist())

    pipe = define()
    pipe.build()
    pipe.feed_input("clip", [frames])
    return pipe.run()[0].as_array()[0]


@pytest.mark.parametrize(("height", "width", "size"), [(256, 340, 112), (256, 340, 224), (90, 60, 112), (64, 64, 32)])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_inside_its_outer_ring_a_view_is_that_of_dali(height: int, width: int, size: int, seed: int | None) -> None:
    frames = noise(3, height, width)
    params = draw(AugmentConfig(), None if seed is None else np.random.default_rng(seed), 0)
    ours = view_of(frames, np.arange(3, dtype=np.int32), params, size).astype(int)
    theirs = by_dali(frames, params, size).astype(int)
    ring = -(-size // min(height, width)) + 1  # enlarging: as many output pixels as one input pixel reaches
    difference = np.abs(ours - theirs)[:, ring:-ring, ring:-ring]
    assert difference.max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    order=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    seed=st.integers(0, 99),
)
def test_every_place_of_the_order_holds_its_own_frame(order: list[int], height: int, width: int, seed: int) -> None:
    frames = noise(5, height, width, seed)
    params = draw(AugmentConfig(), np.random.default_rng(seed), 0)
    view = view_of(frames, np.array(order, np.int32), params, 8)
    assert view.shape == (len(order), 8, 8, 3)
    for place, frame in enumerate(order):
        assert np.array_equal(view[place], view_of(frames, np.array([frame], np.int32), params, 8)[0])


def test_a_window_of_the_wanted_size_is_cut_without_a_change() -> None:
    frames = noise(2, 40, 60)
    view = view_of(frames, np.array([1, 0, 1], np.int32), draw(AugmentConfig.evaluation(), None, 0), 40)
    assert np.array_equal(view, frames[[1, 0, 1], :, 10:50])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads through /proc")
def test_no_threads_are_started_beside_the_one_that_calls() -> None:
    before, seen = torch.get_num_threads(), []

    def work() -> None:
        params = draw(AugmentConfig(), np.random.default_rng(0), 0)
        started = len(list(Path("/proc/self/task").iterdir()))
        view_of(noise(16, 256, 340), np.arange(16, dtype=np.int32), params, 112)
        seen.append(len(list(Path("/proc/self/task").iterdir())) - started)

    torch.set_num_threads(4)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [0]
