"""Which images the published weights were trained on."""

from __future__ import annotations

from shards.read.config import AugmentConfig
from shards.settings import BadSetting

RGB_STARTS = ("kinetics_sup", "byol", "imagenet_sup")
"""Starts that were trained on RGB with mean and std taken off; TCLR's saw BGR in [0, 1] as it is."""


def check_images(section: str, augment: AugmentConfig, init: str) -> None:
    """Refuse a channel order, mean or std that the weights of a start have never seen: it trains, and is worse."""
    if init == "tclr":
        wanted = "expect BGR in [0, 1]; set channels bgr, mean [0, 0, 0], std [1, 1, 1]"
        expected = {
            "channels": augment.channels == "bgr",
            "mean": augment.mean == (0.0, 0.0, 0.0),
            "std": augment.std == (1.0, 1.0, 1.0),
        }
    elif init in RGB_STARTS:
        wanted = "expect normalised RGB; set channels rgb and the mean and std they were trained with"
        expected = {"channels": augment.channels == "rgb", "mean": any(augment.mean)}
    else:
        return
    for key, right in expected.items():
        if not right:
            raise BadSetting(f"{section}.{key}", getattr(augment, key), f"weights of init {init} {wanted}")
