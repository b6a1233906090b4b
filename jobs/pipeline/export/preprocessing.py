"""What an exported encoder wants to see, as a JSON that a program or a person can follow."""

from __future__ import annotations

from typing import Any

from jobs.config.run import RunConfig
from jobs.config.sections import InputConfig

PLACES = {1: [0.5], 3: [0.0, 0.5, 1.0]}
"""Places of the crops on the long side."""
STEPS = [
    "store: short side at most `short_side` pixels, bicubic, YUV 4:2:0, as the shards of the run; may be left out",
    "frames: `views` clips of `frames` frames (T); uniform: view v takes the frame of each of T equal parts at place "
    "(v + 1/2) / views; views: evenly placed clips at `stride`, a single one in the middle; short videos repeat frames",
    "crop: a square over the whole short side, at each of `crops` of the long side: 0 left or top, 1 right or bottom",
    "resize: to `size` x `size`, bilinear with antialias, on uint8",
    "colours: divided by 255, in the order of `channels`, minus `mean`, divided by `std`",
    "layout: float32 [crops x views, frames, 3, size, size]; the softmax of the logits is averaged over the first axis",
]


def preprocessing(cfg: RunConfig, *, frame_encoder: bool) -> dict[str, Any]:
    """Describe the input of both encoders; `chosen` and `prepare` of the loader follow it."""
    found: dict[str, Any] = {
        "steps": STEPS,
        "short_side": cfg.shards.short_side,
        "action_encoder": _seen(cfg.test_input()),
    }
    return found | ({"frame_encoder": _seen(cfg.frame_input)} if frame_encoder else {})


def _seen(inputs: InputConfig) -> dict[str, Any]:
    sampling, look = inputs.sampling, inputs.augment
    return {
        "sampling": {
            "policy": "uniform" if sampling.policy == "uniform" else "views",  # dense is one view in the middle
            "frames": sampling.frames,
            "stride": sampling.stride,
            "views": sampling.views,
        },
        "crops": PLACES[look.crops],
        "size": look.size,
        "channels": look.channels,
        "mean": list(look.mean),
        "std": list(look.std),
    }
