"""Colours, blur, erasing and normalisation of the DALI graph in torch, where frames are decoded and used on a CPU.

DALI's own operators take two to four times as long there. Takes the views that `shards.read.resize` has made; results
agree with DALI's within one grey level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from shards.read.augment import AugmentParams
from shards.read.config import AugmentConfig
from shards.read.dali_graph import GraphSpec, Sample
from shards.read.faults import judged

_AT_ONCE = 4
"""Frames: what is made on the way of so few stays in a core's cache."""


class TorchViews:
    """Does what a `ClipGraph` does with views that are decoded, cropped and resized already, on a CPU."""

    def __init__(self, spec: GraphSpec) -> None:
        """Take what a graph would be built for."""
        self.spec = spec

    def run(self, samples: Sequence[Sample], out: Sequence[Sequence[Tensor]]) -> None:
        """Transform clip i into out[i], for each place a float32 [T, C, size, size]."""
        try:
            self._transform_all(samples, out)
        except (RuntimeError, MemoryError) as error:
            raise judged(error, self.spec.device) from error

    def _transform_all(self, samples: Sequence[Sample], out: Sequence[Sequence[Tensor]]) -> None:
        if self.spec.threads == 1 or len(samples) == 1:
            for sample, places in zip(samples, out, strict=True):
                self._transform(sample, places)
            return
        with ThreadPoolExecutor(self.spec.threads, "views") as pool:
            for _ in pool.map(self._transform, samples, out):
                pass

    @torch.inference_mode()
    def _transform(self, sample: Sample, places: Sequence[Tensor]) -> None:
        for place, cfg in enumerate(self.spec.places):
            frames = torch.from_numpy(sample.data[place])
            for pixels, out in zip(torch.split(frames, _AT_ONCE), torch.split(places[place], _AT_ONCE), strict=True):
                changed = _recoloured(pixels, cfg, sample.params[place]) if self.spec.random else pixels
                _normalise(changed, cfg, out)


def _recoloured(x: Tensor, cfg: AugmentConfig, params: AugmentParams) -> Tensor:
    """Change colours, blur, erase and mirror pixels [T, H, W, 3], uint8, as the parameters say."""
    if (cfg.jitter > 0 or cfg.gray > 0) and params.coloured:
        colour = torch.from_numpy(params.colour)
        planes = colour[:, :3] @ x.reshape(-1, 3).float().T  # by planes: three long rows, not millions of short ones
        x = _to_bytes(planes.add_(colour[:, 3:])).view(3, *x.shape[:3]).permute(1, 2, 3, 0)
    if cfg.blur > 0 and params.sigma > 0:
        x = _blurred(x, float(params.sigma))
    if cfg.erase > 0 and params.erase.any():
        size = torch.tensor(x.shape[1:3]).repeat(2)
        top, left, height, width = (torch.from_numpy(params.erase) * size).round().int().tolist()
        x = x.clone()
        x[:, top : top + height, left : left + width] = 0
    return x.flip(2) if params.flip else x


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur as DALI has it: 2 ceil(3 sigma) + 1 taps, mirrored at the border without repeating its pixel.

    Sums of shifted images: colours lie side by side, so that a sum runs over whole rows.
    """
    radius = math.ceil(3 * sigma)
    weights = [math.exp(-(place**2) / (2 * sigma**2)) for place in range(-radius, radius + 1)]
    taps = [weight / sum(weights) for weight in weights]
    return _to_bytes(_smeared(_smeared(x.float(), taps, dim=1), taps, dim=2))


def _smeared(x: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    """Convolve with symmetric taps along one dimension."""
    size, radius = x.shape[dim], len(taps) // 2
    place = torch.arange(-radius, size + radius).abs() % max(1, 2 * size - 2)
    wide = x.index_select(dim, torch.minimum(place, 2 * size - 2 - place))
    out = wide.narrow(dim, radius, size) * taps[radius]
    for i in range(radius):
        for begin in (i, 2 * radius - i):
            out.add_(wide.narrow(dim, begin, size), alpha=taps[i])
    return out


def _to_bytes(x: Tensor) -> Tensor:
    return x.round_().clamp_(0, 255).to(torch.uint8)


def _normalise(x: Tensor, cfg: AugmentConfig, out: Tensor) -> None:
    """Put the channels in order and standardise them into out [T, 3, H, W]."""
    if cfg.channels == "bgr":
        x = x.flip(-1)
    mean, std = (255 * torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (cfg.mean, cfg.std))
    torch.sub(out.copy_(x.permute(0, 3, 1, 2)), mean, out=out).div_(std)
