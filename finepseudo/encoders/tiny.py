"""This project's stand-ins for a CPU: small networks that see order and place."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from finepseudo.distributed import SyncBatchNorm
from finepseudo.encoders.conv3d import Conv3d
from finepseudo.encoders.pooling import bin_means, mean_over_places


class TinyR2Plus1D(nn.Module):
    """Four (2+1)D stages 16-32-64-64, each halving the image, pooled to three temporal bins."""

    width, stage_width = 3 * 64, 64

    def __init__(self) -> None:
        """Make the network; frames of 32 to 64 pixels suit it."""
        super().__init__()
        self.stages = nn.Sequential(*(_video_stage(i, o) for i, o in pairwise((3, 16, 32, 64, 64))))

    def forward(self, video: Tensor) -> Tensor:
        """Map video [B, 3, T, H, W] to features [B, 192]: order survives as three bins."""
        frames: Tensor = self.stages(video).mean((3, 4))
        return bin_means(frames, 3, 2).flatten(1)

    def over_time(self, output: Tensor) -> Tensor:
        """Map the output of a stage [B, C, T, H, W] to [B, T, C]."""
        return mean_over_places(output)


def _video_stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(inputs, outputs, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
        SyncBatchNorm(outputs),
        nn.ReLU(inplace=True),
        Conv3d(outputs, outputs, (3, 1, 1), 1, (1, 0, 0), bias=False),
        SyncBatchNorm(outputs),
        nn.ReLU(inplace=True),
    )


class TinyImageEncoder(nn.Module):
    """Four stride-2 convolutions 16-32-64-64, pooled to a 3 x 3 grid: frames [N, 3, H, W] to [N, 576]."""

    width = 64 * 9

    def __init__(self) -> None:
        """Make the convolutions with torch's initialisation."""
        super().__init__()
        self.stages = nn.Sequential(*(_image_stage(i, o) for i, o in pairwise((3, 16, 32, 64, 64))))

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames [N, 3, H, W] to features [N, 576]."""
        return bin_means(bin_means(self.stages(frames), 3, 2), 3, 3).flatten(1)


def _image_stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), SyncBatchNorm(outputs), nn.ReLU())
