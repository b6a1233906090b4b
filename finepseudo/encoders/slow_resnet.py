"""3D-ResNet-50 as the slow pathway of SlowFast (Feichtenhofer et al., ICCV 2019): `slow_r50`, 8 frames.

torchvision and timm have no such network. Names are those of torchvision's ResNet-50, less the classification layer.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.distributed import SyncBatchNorm
from finepseudo.encoders.conv3d import Conv3d, FourLayers


class _Bottleneck(nn.Module):
    """(3 or 1)x1x1, 1x3x3, 1x1x1 convolutions around a shortcut; the stride, of space alone, sits in the second."""

    def __init__(self, inputs: int, width: int, stride: int, temporal: int) -> None:
        super().__init__()
        outputs, steps = 4 * width, (1, stride, stride)
        self.conv1 = Conv3d(inputs, width, (temporal, 1, 1), 1, (temporal // 2, 0, 0), bias=False)
        self.bn1 = SyncBatchNorm(width)
        self.conv2 = Conv3d(width, width, (1, 3, 3), steps, (0, 1, 1), bias=False)
        self.bn2 = SyncBatchNorm(width)
        self.conv3 = Conv3d(width, outputs, 1, bias=False)
        self.bn3 = SyncBatchNorm(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shortcut = Conv3d(inputs, outputs, 1, steps, bias=False)
            self.downsample = nn.Sequential(shortcut, SyncBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class SlowR50(FourLayers):
    """Slow pathway: every frame is kept; convolutions look at neighbouring frames in layer3 and layer4 only."""

    def __init__(self, blocks: tuple[int, int, int, int] = (3, 4, 6, 3), channels: int = 64) -> None:
        """Make the network; with 400 classes it has pytorchvideo's 32,454,096 parameters. channels: of the stem."""
        super().__init__()
        n = channels
        self.width = self.stage_width = 32 * n
        self.stem = nn.Sequential(Conv3d(3, n, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), SyncBatchNorm(n))
        self.layer1 = _stage(n, n, blocks[0], 1, 1)
        self.layer2 = _stage(4 * n, 2 * n, blocks[1], 2, 1)
        self.layer3 = _stage(8 * n, 4 * n, blocks[2], 2, 3)
        self.layer4 = _stage(16 * n, 8 * n, blocks[3], 2, 3)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, video: Tensor) -> Tensor:
        """Map video [B, 3, T, H, W] to features [B, width], 2048 of 64 channels."""
        x = F.max_pool3d(F.relu(self.stem(video), inplace=True), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        pooled: Tensor = x.mean((2, 3, 4))
        return pooled


def _stage(inputs: int, width: int, blocks: int, stride: int, temporal: int) -> nn.Sequential:
    rest = [_Bottleneck(4 * width, width, 1, temporal) for _ in range(blocks - 1)]
    return nn.Sequential(_Bottleneck(inputs, width, stride, temporal), *rest)
