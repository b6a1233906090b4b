"""ResNet-50 without a classification head: the image encoder of the frame encoder.

Layer names and shapes are those of torchvision's resnet50 less `fc`, so its and BYOL's checkpoints load.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.distributed import SyncBatchNorm

FROZEN_CHUNK = 256
"""Frames that pass the frozen stages at once: bounds the memory, changes no number (frozen statistics)."""


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut; the stride sits in the 3x3."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        """Make a block with 4 * width output channels."""
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = SyncBatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = SyncBatchNorm(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = SyncBatchNorm(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, SyncBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, 4 width, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet50(nn.Module):
    """Image encoder: frames to 2048 features, each the largest over the image."""

    width = 2048

    def __init__(self, blocks: tuple[int, int, int, int] = (3, 4, 6, 3)) -> None:
        """Make the trunk with torchvision's initialisation."""
        super().__init__()
        self.trunk_frozen = False
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = SyncBatchNorm(64)
        self.layer1 = _stage(64, 64, blocks[0], 1)
        self.layer2 = _stage(256, 128, blocks[1], 2)
        self.layer3 = _stage(512, 256, blocks[2], 2)
        self.layer4 = _stage(1024, 512, blocks[3], 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _trunk(self) -> tuple[nn.Module, ...]:
        return self.conv1, self.bn1, self.layer1, self.layer2, self.layer3

    def freeze_trunk(self) -> None:
        """Train layer4 alone, as CARL does from published weights; the statistics of the rest never move again."""
        self.trunk_frozen = True
        for module in self._trunk():
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> ResNet50:
        """Set the training mode; a frozen trunk stays in evaluation mode."""
        super().train(mode)
        if self.trunk_frozen:
            for module in self._trunk():
                module.eval()
        return self

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames [N, 3, H, W] to features [N, 2048]."""
        if self.trunk_frozen:
            with torch.no_grad():
                x = torch.cat([self._until_layer3(part) for part in torch.split(frames, FROZEN_CHUNK)])
        else:
            x = self._until_layer3(frames)
        largest: Tensor = self.layer4(x).amax((2, 3))  # pools of torch have no deterministic gradient on a GPU
        return largest

    def _until_layer3(self, frames: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(frames)), inplace=True), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
        return x


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)
