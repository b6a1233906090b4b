from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.read.augment import draw
from shards.read.config import AugmentConfig


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(seed=st.integers(0, 500), height=st.integers(16, 400), width=st.integers(16, 400))
def test_the_crop_lies_in_the_image_and_has_the_drawn_shape(seed: int, height: int, width: int) -> None:
    cfg = AugmentConfig(scale=(0.5, 1.0))
    params = draw(cfg, rng(seed), 0)
    start, end = params.window(height, width)
    assert (start >= 0).all()
    assert (end <= (height, width)).all()
    assert (end > start).all()
    h, w = (end - start).tolist()  # each at most half a pixel from what was drawn
    assert (w + 0.5) / (h - 0.5) >= 3 / 4 - 1e-3
    assert (w - 0.5) / (h + 0.5) <= 4 / 3 + 1e-3
    if 0.8 < width / height < 1.25:
        assert (h + 0.5) * (w + 0.5) >= 0.5 * height * width * 0.8


def test_area_and_place_of_the_crop_use_their_whole_range() -> None:
    windows = [draw(AugmentConfig(scale=(0.2, 1.0)), rng(s), 0).window(100, 100) for s in range(400)]
    areas = [int(np.prod(end - start)) for start, end in windows]
    assert min(areas) < 2500
    assert max(areas) > 9000
    assert min(int(start[1]) for start, _ in windows) == 0
    assert max(int(end[1]) for _, end in windows) == 100


def test_evaluation_takes_the_centre_or_three_crops_along_the_long_side() -> None:
    start, end = draw(AugmentConfig.evaluation(), None, 0).window(100, 200)
    assert start.tolist() == [0, 50]
    assert end.tolist() == [100, 150]
    three = AugmentConfig.evaluation(crops=3)
    landscape = [draw(three, None, v).window(100, 200)[0].tolist() for v in range(6)]
    assert landscape == [[0, 0], [0, 50], [0, 100]] * 2
    portrait = [draw(three, None, v).window(200, 100)[0].tolist() for v in range(3)]
    assert portrait == [[0, 0], [50, 0], [100, 0]]


def test_evaluation_changes_no_colour_and_never_flips() -> None:
    params = draw(AugmentConfig.carl_ssl(), None, 0)
    assert params.colour.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert not params.flip
    assert not params.erase.any()


def test_probabilities_are_kept() -> None:
    drawn = [draw(AugmentConfig.carl_ssl(), rng(s), 0) for s in range(1500)]
    eye = np.eye(3, 4, dtype=np.float32)
    grey = [p for p in drawn if np.allclose(p.colour[0], p.colour[1], atol=1e-5)]
    assert 0.45 < np.mean([p.flip for p in drawn]) < 0.55
    assert 0.16 < len(grey) / 1500 < 0.24
    assert 0.12 < np.mean([np.array_equal(p.colour, eye) for p in drawn]) < 0.20  # .2 unjittered x .8 not grey
    assert 0.36 < np.mean([p.sigma >= 0.1 for p in drawn]) < 0.44
    erased = [draw(AugmentConfig(erase=0.25), rng(s), 0).erase for s in range(1500)]
    assert 0.21 < np.mean([e.any() for e in erased]) < 0.29
    assert all((e[:2] + e[2:] <= 1.0001).all() for e in erased)


def test_views_differ_and_the_same_generator_gives_the_same() -> None:
    def two(seed: int) -> list[list[float]]:
        generator = rng(seed)
        return [draw(AugmentConfig.carl_ssl(), generator, v).window(128, 128)[0].tolist() for v in range(2)]

    assert two(1) == two(1)
    assert two(1)[0] != two(1)[1]


def jitter_only(**amounts: float) -> AugmentConfig:
    still = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    return AugmentConfig(jitter=1.0, **(still | amounts))  # type: ignore[arg-type]


def test_jitter_without_amounts_changes_nothing() -> None:
    assert np.allclose(draw(jitter_only(), rng(), 0).colour, np.eye(3, 4), atol=1e-5)


@pytest.mark.parametrize("amount", ["saturation", "hue"])
def test_saturation_and_hue_leave_greys_alone(amount: str) -> None:
    colour = draw(jitter_only(**{amount: 0.5}), rng(), 0).colour
    assert np.allclose(colour @ [90, 90, 90, 1], 90, atol=1e-3)
    assert not np.allclose(colour[:, :3], np.eye(3), atol=1e-2)


def test_brightness_scales_and_contrast_turns_around_mid_grey() -> None:
    bright = draw(jitter_only(brightness=0.5), rng(), 0).colour @ [10.0, 100.0, 200.0, 1.0]
    assert np.allclose(bright / bright[0], [1, 10, 20], atol=1e-3)
    assert np.allclose(draw(jitter_only(contrast=0.5), rng(), 0).colour @ [127.5, 127.5, 127.5, 1], 127.5, atol=1e-3)


def test_a_full_hue_range_turns_red_as_hsv_does_roughly() -> None:
    for seed in range(10):
        turned = np.clip(draw(jitter_only(hue=0.2), rng(seed), 0).colour @ [180.0, 60.0, 60.0, 1.0], 0, 255) / 255
        hue = colorsys.rgb_to_hsv(*turned)[0]
        assert min(hue, 1 - hue) < 0.27


def test_refusals_name_key_and_value() -> None:
    with pytest.raises(ValueError, match=r"flip = 2"):
        AugmentConfig(flip=2)
    with pytest.raises(ValueError, match=r"scale"):
        AugmentConfig(scale=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"crops = 2"):
        AugmentConfig(crops=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"std"):
        AugmentConfig(std=(1.0, 0.0, 1.0))
