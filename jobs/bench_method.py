"""`finepseudo bench method`: render synthetic dives, run the method study on several seeds, print and keep the table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from finepseudo.bench.training import Rows
from shards.sampling import SamplingConfig, frame_indices
from shards.synthetic.config import NUISANCES, SyntheticDivingConfig
from shards.synthetic.pose import draw_timeline, video_generator
from shards.synthetic.renderer import render
from shards.types import ClipBatch

_MEAN, _STD = 0.5, 0.25


class RenderedClips:
    """Rendered dives held at `size` pixels; augmentation: crop of .8-1 of the picture, light; no flip.

    A mirror image would turn one class into another (a backward take-off is a mirrored reverse one).
    """

    def __init__(self, cfg: SyntheticDivingConfig, size: int, frames: int) -> None:
        """Render every training and test video; rows run class by class, training before test."""
        self.frames, self.size = frames, size
        self.videos: list[npt.NDArray[np.uint8]] = []
        labels, splits = [], []
        for split, count in (("train", cfg.train_per_class), ("test", cfg.test_per_class)):
            for label, name in enumerate(cfg.class_names):
                for index in range(count):
                    self.videos.append(_render(cfg, split, name, index, size))
                    labels.append(label)
                    splits.append(split)
        self.labels = np.array(labels, dtype=np.int64)
        self.is_train = np.array(splits) == "train"

    def batch(self, rows: Rows, labels: Rows, policy: str, rng: np.random.Generator | None) -> ClipBatch:
        """Sample, augment and normalise clips; see ClipSource."""
        cfg = SamplingConfig(policy="gitdl" if policy == "gitdl" else "uniform", frames=self.frames)
        ids = np.stack([frame_indices(len(self.videos[row]), cfg, rng) for row in rows])
        clips = np.stack([self.videos[row][index] for row, index in zip(rows, ids, strict=True)])
        pixels = torch.from_numpy(clips).permute(0, 1, 2, 5, 3, 4).float() / 255
        if rng is not None:
            pixels = _augment(pixels, rng)
        return ClipBatch(
            keys=tuple(f"{row:08d}" for row in rows),
            frames=(pixels - _MEAN) / _STD,
            frame_ids=torch.from_numpy(ids),
            n_frames=torch.tensor([len(self.videos[row]) for row in rows]),
            labels=torch.from_numpy(labels.astype(np.int64)),
            pseudo=torch.zeros(len(rows), dtype=torch.bool),
            valid=torch.ones(len(rows), dtype=torch.bool),
        )


def _render(cfg: SyntheticDivingConfig, split: str, name: str, index: int, size: int) -> npt.NDArray[np.uint8]:
    """Render one video and shrink it by area: uint8 [n, size, size, 3]."""
    rng = video_generator(cfg.seed, split, name, index)
    nuisance = NUISANCES[cfg.nuisance]
    video = torch.from_numpy(render(draw_timeline(name, nuisance, rng), nuisance, rng))
    small = F.adaptive_avg_pool2d(video.permute(0, 3, 1, 2).float(), size)
    return small.round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Crop and relight views [B, V, T, C, H, W]; the frames of a view share their draw."""
    b, v, t, c, h, w = pixels.shape
    zoom = np.sqrt(rng.uniform(0.8, 1.0, b * v))
    shift = (1 - zoom)[:, None] * rng.uniform(-1, 1, (b * v, 2))
    theta = np.zeros((b * v, 2, 3), np.float32)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = shift
    grid = F.affine_grid(torch.from_numpy(theta), [b * v, c, h, w], align_corners=False)
    flat = pixels.reshape(b * v, t * c, h, w)
    flat = F.grid_sample(flat, grid, align_corners=False, padding_mode="border").view(b * v, t, c, h, w)
    gain = rng.uniform(0.7, 1.3, (b * v, 1, 1, 1, 1)) * rng.uniform(0.9, 1.1, (b * v, 1, c, 1, 1))
    return (flat * torch.from_numpy(gain.astype(np.float32))).clamp(0, 1).view(b, v, t, c, h, w)
