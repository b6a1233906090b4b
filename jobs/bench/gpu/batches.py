"""What the parts train: the three objectives of a run at the size of the papers, and batches that are on the device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import torch

from finepseudo.alignment.config import AlignabilityConfig, GitdlConfig
from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.compute.config import Precision
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.methods.base import LABELLED
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective, GitdlObjective, Objective
from jobs.bench.gpu.timing import device
from shards.types import ClipBatch, only_view

CLASSES = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A batch: clips, views of a clip, frames of a view, side of a frame in pixels; kept: features in their place."""

    clips: int
    views: int
    frames: int
    side: int
    kept: bool = False

    def batch(self, features: int = 0) -> ClipBatch:
        """Draw a batch, two clips a class: frames on the device, the rest on the host as a reader leaves it.

        features: numbers of a frame where these are kept.
        """
        size = (self.clips, self.views, self.frames, *((features,) if self.kept else (3, self.side, self.side)))
        small = {
            "n_frames": torch.full((self.clips,), 4 * self.frames),
            "labels": torch.arange(self.clips) // 2 % CLASSES,
            "pseudo": torch.zeros(self.clips, dtype=torch.bool),
        }
        ids = torch.arange(self.frames).expand(size[:3]).contiguous()
        if device().type == "cuda":
            ids = ids.pin_memory()
            small = {name: values.pin_memory() for name, values in small.items()}
        return ClipBatch(
            keys=tuple(f"clip{i}" for i in range(self.clips)),
            views=only_view(torch.randn(size, device=device()), ids),
            valid=torch.ones(self.clips, dtype=torch.bool),
            **small,
        )


@dataclass(frozen=True, slots=True)
class FixedReader:
    """Stands where the streams stand and gives one batch again and again: what the loop itself costs."""

    batch: ClipBatch
    batches_per_epoch: int
    bad: Mapping[str, int] = field(default_factory=dict)
    fallbacks: int = 0
    decoded: Mapping[str, int] = field(default_factory=dict)

    def seen(self, step: int) -> int:
        """Count the clips before a step."""
        return step * len(self.batch.keys)

    def batches(self, step: int) -> Generator[dict[str, ClipBatch], None, None]:
        """Give the batch for each step from `step` on."""
        del step
        while True:
            yield {LABELLED: self.batch}


def shapes(tiny: bool) -> dict[str, Shape]:
    """Return the batch of one GPU for each objective."""
    if tiny:
        return {
            "gitdl": Shape(clips=2, views=2, frames=8, side=40),
            "metric": Shape(clips=4, views=1, frames=8, side=40),
            "metric on kept features": Shape(clips=4, views=1, frames=8, side=40, kept=True),
            "cross-entropy": Shape(clips=2, views=1, frames=8, side=40),
        }
    return {
        "gitdl": Shape(clips=16, views=2, frames=32, side=224),
        "metric": Shape(clips=96, views=1, frames=32, side=224),
        "metric on kept features": Shape(clips=96, views=1, frames=32, side=224, kept=True),
        "cross-entropy": Shape(clips=32, views=1, frames=16, side=112),
    }


def objectives(tiny: bool, precision: Precision) -> dict[str, Callable[[], Objective]]:
    """Return what builds each objective, with random weights."""
    frame = FrameEncoderConfig(
        variant="tiny" if tiny else "vtn", weights="random", train_length=8 if tiny else 32, precision=precision
    )
    action = ActionEncoderConfig(variant="tiny" if tiny else "r2plus1d_18", weights="random", precision=precision)

    def metric() -> Objective:
        encoder = build_frame_encoder(frame)
        encoder.freeze_image_encoder()
        return AlignabilityObjective(encoder, AlignabilityScorer(), AlignabilityConfig())

    return {
        "gitdl": lambda: GitdlObjective(build_frame_encoder(frame), GitdlConfig()),
        "metric": metric,
        "metric on kept features": metric,
        "cross-entropy": lambda: CrossEntropyObjective(build_action_encoder(action, CLASSES), CrossEntropyConfig()),
    }
