"""Colours, blur, erasing and normalisation of the DALI graph in torch, for a CPU without DALI (macOS, small machines).

Takes the views that `shards.read.resize` has made. Results agree with DALI's within one grey level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from shards.read.augment import AugmentParams
from shards.read.config import AugmentConfig
from shards.read.dali_graph import GraphSpec, Sample


class TorchViews:
    """Does what a `ClipGraph` does with views that are decoded, cropped and resized already, on a CPU."""

    def __init__(self, spec: GraphSpec) -> None:
        """Take what a graph would be built for."""
        self.spec = spec

    @torch.inference_mode()
    def run(self, samples: Sequence[Sample], out: Sequence[Sequence[Tensor]]) -> None:
        """Transform clip i into out[i], for each place a float32 [T, C, size, size]."""
        for sample, places in zip(samples, out, strict=True):
            for place, cfg in enumerate(self.spec.places):
                pixels = torch.from_numpy(sample.data[place]).permute(0, 3, 1, 2)
                if self.spec.random:
                    pixels = _recoloured(pixels, cfg, sample.params[place])
                places[place].copy_(_normalised(pixels, cfg))


def _recoloured(x: Tensor, cfg: AugmentConfig, params: AugmentParams) -> Tensor:
    """Change colours, blur, erase and mirror pixels [T, 3, H, W], uint8, as the parameters say."""
    if (cfg.jitter > 0 or cfg.gray > 0) and params.coloured:
        matrix, offset = torch.from_numpy(params.colour[:, :3]), torch.from_numpy(params.colour[:, 3])
        x = _to_bytes(torch.einsum("dc,tchw->tdhw", matrix, x.float()) + offset[:, None, None])
    if cfg.blur > 0 and params.sigma > 0:
        x = _blurred(x, float(params.sigma))
    if cfg.erase > 0 and params.erase.any():
        size = torch.tensor(x.shape[-2:]).repeat(2)
        top, left, height, width = (torch.from_numpy(params.erase) * size).round().int().tolist()
        x = x.clone()
        x[..., top : top + height, left : left + width] = 0
    return x.flip(-1) if params.flip else x


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur as DALI has it: 2 ceil(3 sigma) + 1 taps, mirrored at the border without repeating its pixel."""
    radius = math.ceil(3 * sigma)
    place = torch.arange(-radius, radius + 1, dtype=torch.float32)
    taps = torch.exp(-(place**2) / (2 * sigma**2))
    taps /= taps.sum()
    channels = x.shape[1]
    rows, columns = taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    y = _reflected(x.float(), radius)
    return _to_bytes(conv2d(conv2d(y, rows, groups=channels), columns, groups=channels))


def _reflected(x: Tensor, radius: int) -> Tensor:
    """Mirror the border; torch mirrors no further than the image is wide."""
    while radius > 0:
        step = min(radius, min(x.shape[-2:]) - 1)
        x, radius = pad(x, (step, step, step, step), mode="reflect"), radius - step
    return x


def _to_bytes(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)


def _normalised(x: Tensor, cfg: AugmentConfig) -> Tensor:
    """Put the channels in order and standardise them."""
    if cfg.channels == "bgr":
        x = x.flip(1)
    mean, std = (255 * torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (cfg.mean, cfg.std))
    return (x.float() - mean) / std
