"""torch's 3-D convolution, right in bf16 on a CPU too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
