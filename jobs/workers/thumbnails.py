"""Thumbnails of clips for a page: a strip of frames each, as one image inside a data URI."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from finepseudo.run_folder.layout import RunPaths
from jobs.config.run import RunConfig
from jobs.workers.clip_parts import evaluation_reader
from shards.errors import UserError
from shards.read.config import AugmentConfig, SamplingConfig, ViewConfig
from shards.storage.manifest import Manifest
from shards.types import ClipBatch

STRIP = 6
"""Frames of a strip, spread over the clip; the page's style counts on it."""
SIDE = 112
QUALITY = 55
BATCH = 8
_LOG = logging.getLogger(__name__)


def strips(cfg: RunConfig, keys: Sequence[str], side: int = SIDE) -> dict[str, str]:
    """Read clips of a run from its shards and draw them; clips that cannot be read have no thumbnail.

    Where the shards are gone nothing is drawn, and a warning says so.
    """
    shards = RunPaths(cfg.folder).shards
    view = ViewConfig(sampling=SamplingConfig(frames=STRIP), augment=AugmentConfig.evaluation(size=side))
    lenient = replace(cfg, reading=replace(cfg.reading, max_bad_fraction=1.0, decode="auto"))
    try:
        there = [key for key in keys if key in Manifest.open(shards, cfg.reading.cache)]
        if not there:
            return {}
        reader = evaluation_reader(lenient, shards, [view], torch.device("cpu"))
        return dict(_drawn(reader.batches(there, BATCH), view.augment))
    except UserError as error:
        _LOG.warning("no thumbnails of clips: %s", error)
        return {}


def _drawn(batches: Iterator[ClipBatch], look: AugmentConfig) -> Iterator[tuple[str, str]]:
    mean, std = (torch.tensor(values)[:, None, None] for values in (look.mean, look.std))
    for batch in batches:
        sound = batch.sound()
        for key, frames in zip(sound.keys, sound.frames[:, 0], strict=True):
            yield key, strip(frames * std + mean)


def strip(frames: Tensor) -> str:
    """Lay frames [T, 3, S, S] in [0, 1] side by side in a WebP image: a data URI of some kilobytes."""
    pixels = (frames.clamp(0, 1) * 255).round().to(torch.uint8).permute(2, 0, 3, 1)  # [S, T, S, 3]
    image = Image.fromarray(np.ascontiguousarray(pixels.reshape(pixels.shape[0], -1, 3).numpy()))
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
