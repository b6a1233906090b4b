"""Which pictures the published weights were trained on."""

from __future__ import annotations

from shards.read.config import AugmentConfig

RGB_STARTS = ("kinetics_sup", "byol", "imagenet_sup")
"""Starts that were trained on RGB with mean and std taken off; TCLR's saw BGR in [0, 1] as it is."""


def check_pictures(name: str, look: AugmentConfig, init: str) -> None:
    """Refuse a channel order, mean or std that the weights of a start have never seen: it trains, and is worse."""
    as_it_is = look.mean == (0.0, 0.0, 0.0) and look.std == (1.0, 1.0, 1.0)
    if init == "tclr" and not (look.channels == "bgr" and as_it_is):
        wanted = "BGR in [0, 1]: channels bgr, mean [0, 0, 0], std [1, 1, 1]"
    elif init in RGB_STARTS and (look.channels == "bgr" or not any(look.mean)):
        wanted = "normalised RGB: channels rgb and the mean and std they were trained with"
    else:
        return
    raise ValueError(
        f"{name}: channels {look.channels}, mean {list(look.mean)}, std {list(look.std)}; weights of init {init} "
        f"expect {wanted}"
    )
