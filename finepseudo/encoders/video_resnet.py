"""R(2+1)D-18 and R3D-18 (Tran et al., CVPR 2018) with torchvision's names, less the classification layer.

Own code, not torchvision's: batch statistics cover every rank, and the stage layer4 comes in TCLR's form too.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from finepseudo.distributed import SyncBatchNorm
from finepseudo.encoders.conv3d import Conv3d, FourLayers

Layer4 = Literal["torchvision", "tclr"]
Convolution = Literal["2plus1d", "3d"]


def _convolution(kind: Convolution, inputs: int, outputs: int, middle: int, stride: int) -> nn.Module:
    """Make a 1x3x3 convolution, BN, ReLU and a 3x1x1 convolution, or one 3x3x3 convolution."""
    if kind == "3d":
        return Conv3d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(
        Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        SyncBatchNorm(middle),
        nn.ReLU(inplace=True),
        Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


class _Block(nn.Module):
    """Residual block of two convolutions in space and time."""

    def __init__(self, kind: Convolution, inputs: int, outputs: int, stride: int, undivided: bool = False) -> None:
        super().__init__()
        middle = (inputs * outputs * 27) // (inputs * 9 + 3 * outputs)  # of both, as in torchvision
        first = _convolution(kind, inputs, outputs, middle, stride)
        steps: int | tuple[int, int, int] = stride
        if undivided:  # TCLR's layer4: keeps the frame rate, looks two frames away
            steps = (1, 2, 2)
            first = Conv3d(inputs, outputs, 3, steps, (2, 1, 1), (2, 1, 1), bias=False)
        self.conv1 = nn.Sequential(first, SyncBatchNorm(outputs), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(_convolution(kind, outputs, outputs, middle, 1), SyncBatchNorm(outputs))
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(Conv3d(inputs, outputs, 1, steps, bias=False), SyncBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        y += x if self.downsample is None else self.downsample(x)
        return y.relu_()


def _stem(kind: Convolution) -> nn.Sequential:
    if kind == "3d":
        first = Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        return nn.Sequential(first, SyncBatchNorm(64), nn.ReLU(inplace=True))
    return nn.Sequential(
        Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        SyncBatchNorm(45),
        nn.ReLU(inplace=True),
        Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False),
        SyncBatchNorm(64),
        nn.ReLU(inplace=True),
    )


class VideoResNet18(FourLayers):
    """Stem, four stages of two blocks, average pool."""

    width = stage_width = 512

    def __init__(self, kind: Convolution = "2plus1d", layer4: Layer4 = "torchvision") -> None:
        """Make the network; with 400 classes it has torchvision's 31,505,325 (2plus1d), 33,371,472 (3d) parameters."""
        super().__init__()
        self.stem = _stem(kind)
        self.layer1 = nn.Sequential(_Block(kind, 64, 64, 1), _Block(kind, 64, 64, 1))
        self.layer2 = nn.Sequential(_Block(kind, 64, 128, 2), _Block(kind, 128, 128, 1))
        self.layer3 = nn.Sequential(_Block(kind, 128, 256, 2), _Block(kind, 256, 256, 1))
        self.layer4 = nn.Sequential(_Block(kind, 256, 512, 2, undivided=layer4 == "tclr"), _Block(kind, 512, 512, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, video: Tensor) -> Tensor:
        """Map video [B, 3, T, H, W] to features [B, 512]."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(video)))))
        pooled: Tensor = x.mean((2, 3, 4))
        return pooled
