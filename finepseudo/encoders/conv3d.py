"""torch's 3-D convolution, right in bf16 on a CPU too, and what the networks made of it show of themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.encoders.pooling import mean_over_places


class Conv3d(nn.Conv3d):
    """A convolution over time, height and width; names, start and numbers are those of torch's.

    Of two frames that it pads in time, bf16 on a CPU gets no right gradient of the weights: oneDNN leaves part of it
    unset (torch 2.13). There the frames are padded before it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map video [B, C, T, H, W] to [B, D, T', H', W']."""
        time, height, width = (int(size) for size in self.padding)
        if not time or x.shape[2] != 2 or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        longer = F.pad(x, (0, 0, 0, 0, time, time))
        return F.conv3d(longer, self.weight, self.bias, self.stride, (0, height, width), self.dilation, self.groups)


class FourLayers(nn.Module):
    """A network over [B, C, T, H, W] whose four stages are called as in torchvision's."""

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    @property
    def stages(self) -> Sequence[nn.Module]:
        """Name the modules that end its four stages."""
        return (self.layer1, self.layer2, self.layer3, self.layer4)

    def over_time(self, output: Tensor) -> Tensor:
        """Map the output of a stage [B, C, T, H, W] to [B, T, C]."""
        return mean_over_places(output)
