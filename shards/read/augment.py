"""Augmentation as explicit numbers: drawn on the CPU before anything is decoded, applied by the DALI graph.

One set of parameters belongs to one view of one clip: all frames of the view share it, other views have their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.int32]
Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as grey conversion of RGB is usually defined
_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # NTSC colour axes: hue is an angle in I, Q
_RGB = np.linalg.inv(_YIQ)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """What happens to a view between decoding and the encoder. The field defaults leave training views unjittered."""

    # Side of the square output in pixels (open in the paper: 224 for f_A, 112 for f_E).
    size: int = 224
    # Range of the crop's share of the picture area (CARL: .8-1).
    scale: tuple[float, float] = (0.8, 1.0)
    # Range of the crop's width / height (CARL).
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    # Probability of a left-right flip (CARL: .5; set 0 where left and right make classes).
    flip: float = 0.5
    # Probability of the colour jitter (CARL: .8).
    jitter: float = 0.0
    # Colour jitter: brightness factor in 1 +- this (CARL: .8).
    brightness: float = 0.8
    # Colour jitter: contrast factor in 1 +- this, around mid-grey (CARL: .8).
    contrast: float = 0.8
    # Colour jitter: saturation factor in 1 +- this (CARL: .8).
    saturation: float = 0.8
    # Colour jitter: hue turn in +- this, in turns (CARL: .2).
    hue: float = 0.2
    # Probability of a grey picture (CARL: .2).
    gray: float = 0.0
    # Probability of a Gaussian blur (CARL: .5 inside the jitter; off on FineGym).
    blur: float = 0.0
    # Range of the blur's width in output pixels (CARL: .1-2).
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    # Probability of one erased rectangle (TCLR fine-tuning: .25).
    erase: float = 0.0
    # Range of the erased share of the picture (open in the paper).
    erase_area: tuple[float, float] = (0.02, 0.2)
    # Evaluation: 1 = centre crop, 3 = both ends and the centre of the long side (paper, sec 4: 3 spatial crops).
    crops: Literal[1, 3] = 1
    # Subtracted per output channel, for pixels in [0, 1], in the order of `channels`.
    mean: Triple = IMAGENET_MEAN
    # Divided by per output channel, in the order of `channels`.
    std: Triple = IMAGENET_STD
    # Channel order of the output (TCLR's published weights expect bgr in [0, 1] without mean and std).
    channels: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        if self.size < 1:
            raise ValueError(f"augment.size = {self.size}: must be at least 1 pixel")
        if self.crops not in (1, 3):
            raise ValueError(f"augment.crops = {self.crops}: must be 1 or 3")
        if self.channels not in ("rgb", "bgr"):
            raise ValueError(f"augment.channels = {self.channels!r}: must be rgb or bgr")
        for name in ("flip", "jitter", "gray", "blur", "erase"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "a probability in [0, 1]")
        for name in ("brightness", "contrast", "saturation"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "in [0, 1]")
        _check("hue", self.hue, 0 <= self.hue <= 0.5, "in [0, 0.5] turns")
        for name in ("scale", "erase_area"):
            low, high = getattr(self, name)
            _check(name, (low, high), 0 < low <= high <= 1, "0 < low <= high <= 1")
        for name in ("ratio", "blur_sigma"):
            low, high = getattr(self, name)
            _check(name, (low, high), 0 < low <= high, "0 < low <= high")
        _check("std", self.std, min(self.std) > 0, "three numbers above 0")

    @classmethod
    def carl_ssl(cls, *, size: int = 224, blur: float = 0.4) -> AugmentConfig:
        """Make the views of GITDL (CARL's self-supervised scheme); blur .4 = .5 inside the jitter's .8."""
        return cls(size=size, jitter=0.8, gray=0.2, blur=blur)

    @classmethod
    def metric(cls, *, size: int = 224) -> AugmentConfig:
        """Make the views of metric learning: crop and flip only."""
        return cls(size=size)

    @classmethod
    def tclr_finetune(cls, *, size: int = 112) -> AugmentConfig:
        """Make the views of f_E as TCLR fine-tunes: BGR in [0, 1], light colours, one erased rectangle."""
        return cls(
            size=size,
            scale=(0.6, 1.0),
            jitter=0.15,
            brightness=0.1,
            contrast=0.1,
            saturation=0.1,
            hue=0.05,
            gray=0.1,
            erase=0.25,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            channels="bgr",
        )

    @classmethod
    def evaluation(cls, *, size: int = 224, crops: Literal[1, 3] = 1) -> AugmentConfig:
        """Make the views of testing: whole short side, 1 or 3 crops, nothing random."""
        return cls(size=size, scale=(1.0, 1.0), flip=0.0, crops=crops)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentParams:
    """The numbers of one view. The crop is kept free of the picture's size; `window` resolves it."""

    # Crop's share of the picture; none = a square over the whole short side.
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
        """Resolve the crop for a picture: (start, end), each (y, x), in whole pixels."""
        if self.area is None:
            h = w = float(min(height, width))
        else:
            h = math.sqrt(self.area * height * width / self.ratio)
            w = h * self.ratio
            shrink = min(1.0, height / h, width / w)  # keeps the drawn shape where the picture is too narrow for it
            h, w = h * shrink, w * shrink
        extent = np.maximum(np.rint([h, w]), 1).astype(np.int32)
        slack = np.array([height, width], np.int32) - extent
        start = np.rint(slack * (self.y, self.x)).astype(np.int32)
        return start, start + extent


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


def _check(name: str, value: object, ok: bool, rule: str) -> None:
    if not ok:
        raise ValueError(f"augment.{name} = {value}: must be {rule}")
