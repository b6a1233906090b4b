"""Augmentation as explicit numbers: drawn on the CPU before anything is decoded, applied by the DALI graph.

One set of parameters belongs to one view of one clip: all frames of the view share it, other views have their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from shards.read.config import AugmentConfig

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.int32]


_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as grey conversion of RGB is usually defined
_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # NTSC colour axes: hue is an angle in I, Q
_RGB = np.linalg.inv(_YIQ)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentParams:
    """The numbers of one view. The crop is kept free of the image's size; `window` resolves it."""

    # Crop's share of the image; none = a square over the whole short side.
    area: float | None
    # Crop's width / height in pixels.
    ratio: float = 1.0
    # Place of the crop in its horizontal slack, 0 = left, 1 = right.
    x: float = 0.5
    # Place of the crop in its vertical slack, 0 = top, 1 = bottom.
    y: float = 0.5
    # Mirrored left to right.
    flip: bool = False
    # Width of the blur in output pixels; 0 = none.
    sigma: float = 0.0
    # Affine colour map [3, 4] on RGB in 0..255: out = colour[:, :3] @ rgb + colour[:, 3].
    colour: Array
    # Erased rectangle (y, x, height, width) as shares of the output; height and width 0 = none.
    erase: Array

    @property
    def coloured(self) -> bool:
        """Say whether the colours change at all."""
        return not np.array_equal(self.colour, np.eye(3, 4))

    def window(self, height: int, width: int) -> tuple[Pixels, Pixels]:
        """Resolve the crop for an image: (start, end), each (y, x), in whole pixels."""
        if self.area is None:
            h = w = float(min(height, width))
        else:
            h = math.sqrt(self.area * height * width / self.ratio)
            w = h * self.ratio
            shrink = min(1.0, height / h, width / w)  # keeps the drawn shape where the image is too narrow for it
            h, w = h * shrink, w * shrink
        extent = np.maximum(np.rint([h, w]), 1).astype(np.int32)
        slack = np.array([height, width], np.int32) - extent
        start = np.rint(slack * (self.y, self.x)).astype(np.int32)
        return start, start + extent

    def edges(self, height: int, width: int) -> Array:
        """Give left, top, right and bottom of the crop as shares of an image, left and right swapped where mirrored."""
        start, end = self.window(height, width)
        (top, left), (bottom, right) = start / (height, width), end / (height, width)
        return np.array([right, top, left, bottom] if self.flip else [left, top, right, bottom], np.float32)


def recode(frames: Tensor, have: AugmentConfig, want: AugmentConfig) -> Tensor:
    """Turn decoded frames [.., 3, H, W] from the channel order, mean and std of `have` into those of `want`."""
    if (have.channels, have.mean, have.std) == (want.channels, want.mean, want.std):
        return frames
    old_mean, old_std, mean, std = (
        frames.new_tensor(values)[:, None, None] for values in (have.mean, have.std, want.mean, want.std)
    )
    pixels = frames * old_std + old_mean
    return ((pixels if have.channels == want.channels else pixels.flip(-3)) - mean) / std


def draw(cfg: AugmentConfig, rng: np.random.Generator | None, view: int) -> AugmentParams:
    """Draw the numbers of one view; without a generator give those of evaluation: crop `view` mod `crops`, no change.

    Always takes the same count of numbers from the generator, whatever they turn out to be.
    """
    if rng is None:
        place = 0.5 if cfg.crops == 1 else (0.0, 0.5, 1.0)[view % 3]
        nothing = np.zeros(4, np.float32)
        return AugmentParams(area=None, x=place, y=place, colour=_affine(np.eye(3), 0.0), erase=nothing)
    chance = rng.random(5)
    share = rng.random(12)
    return AugmentParams(
        area=_between(cfg.scale, share[0]),
        ratio=math.exp(_between((math.log(cfg.ratio[0]), math.log(cfg.ratio[1])), share[1])),
        x=float(share[2]),
        y=float(share[3]),
        flip=bool(chance[0] < cfg.flip),
        sigma=_between(cfg.blur_sigma, share[4]) if chance[1] < cfg.blur else 0.0,
        colour=_colour(cfg, jitter=chance[2] < cfg.jitter, gray=chance[3] < cfg.gray, share=share[5:9]),
        erase=_erased(cfg, share[9:12]) if chance[4] < cfg.erase else np.zeros(4, np.float32),
    )


def _colour(cfg: AugmentConfig, *, jitter: bool, gray: bool, share: npt.NDArray[np.float64]) -> Array:
    """Compose brightness, contrast, saturation, hue and grey into one affine map on RGB in 0..255."""
    matrix, offset = np.eye(3), 0.0
    if jitter:
        wanted = (cfg.brightness, cfg.contrast, cfg.saturation)
        bright, contrast, saturation = (1 + w * (2 * u - 1) for w, u in zip(wanted, share[:3], strict=True))
        turn = 2 * math.pi * cfg.hue * (2 * share[3] - 1)
        c, s = saturation * math.cos(turn), saturation * math.sin(turn)
        chroma = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])  # saturation stretches, hue turns the (I, Q) plane
        matrix = bright * contrast * (_RGB @ chroma @ _YIQ)
        offset = 127.5 * (1 - contrast)
    if gray:
        matrix = np.tile(_LUMA @ matrix, (3, 1))
    return _affine(matrix, offset)


def _affine(matrix: npt.NDArray[np.float64], offset: float) -> Array:
    return np.column_stack([matrix, np.full(3, offset)]).astype(np.float32)


def _erased(cfg: AugmentConfig, share: npt.NDArray[np.float64]) -> Array:
    """Place a square of the drawn area anywhere in the output."""
    side = math.sqrt(_between(cfg.erase_area, share[0]))
    return np.array([share[1] * (1 - side), share[2] * (1 - side), side, side], np.float32)


def _between(limits: tuple[float, float], share: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * share)
