"""f_E, the action encoder: a clip to class logits.

`r2plus1d_18` is R(2+1)D-18 (Tran et al., CVPR 2018), the paper's fine-grained backbone, with torchvision's names.
Shapes: B clips, T frames, C classes, D features.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from finepseudo.compute.networks import channels_last, compiled, computed_in
from finepseudo.distributed import SyncBatchNorm, widened
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.encoders.pooling import bin_means
from finepseudo.encoders.weights import WeightsRecord, load_into


def _conv2plus1d(inputs: int, outputs: int, middle: int, stride: int) -> nn.Sequential:
    """Make a 1x3x3 convolution, BN, ReLU and a 3x1x1 convolution."""
    return nn.Sequential(
        nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        SyncBatchNorm(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


class _Block(nn.Module):
    """Residual block of two (2+1)D convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int, undivided: bool = False) -> None:
        super().__init__()
        middle = (inputs * outputs * 27) // (inputs * 9 + 3 * outputs)  # of both, as in torchvision
        first: nn.Module = _conv2plus1d(inputs, outputs, middle, stride)
        steps: int | tuple[int, int, int] = stride
        if undivided:  # TCLR's layer4: keeps the frame rate, looks two frames away
            steps = (1, 2, 2)
            first = nn.Conv3d(inputs, outputs, 3, steps, (2, 1, 1), (2, 1, 1), bias=False)
        self.conv1 = nn.Sequential(first, SyncBatchNorm(outputs), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(_conv2plus1d(outputs, outputs, middle, 1), SyncBatchNorm(outputs))
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, steps, bias=False), SyncBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class R2Plus1D18(nn.Module):
    """R(2+1)D-18: stem, four stages of two blocks, average pool. `fc` is the classification layer."""

    width = 512

    def __init__(self, n_classes: int, layer4: Literal["torchvision", "tclr"] = "torchvision") -> None:
        """Make the network; 400 classes give torchvision's 224 tensors and 31,505,325 parameters."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            SyncBatchNorm(45),
            nn.ReLU(inplace=True),
            nn.Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False),
            SyncBatchNorm(64),
            nn.ReLU(inplace=True),
        )
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2, undivided=layer4 == "tclr"), _Block(512, 512, 1))
        self.fc = nn.Linear(512, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, video: Tensor) -> Tensor:
        """Map video [B, 3, T, H, W] to features [B, 512]."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(video)))))
        pooled: Tensor = x.mean((2, 3, 4))
        return pooled


class TinyR2Plus1D(nn.Module):
    """Four (2+1)D stages 16-32-64-64, each halving the picture, pooled to three temporal bins."""

    width = 3 * 64

    def __init__(self, n_classes: int) -> None:
        """Make the network; frames of 32 to 64 pixels suit it."""
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        stages = [_tiny_stage(i, o) for i, o in pairwise(widths)]
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(self.width, n_classes)

    def features(self, video: Tensor) -> Tensor:
        """Map video [B, 3, T, H, W] to features [B, 192]: order survives as three bins."""
        frames: Tensor = self.stages(video).mean((3, 4))
        return bin_means(frames, 3, 2).flatten(1)


def _tiny_stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
        SyncBatchNorm(outputs),
        nn.ReLU(inplace=True),
        nn.Conv3d(outputs, outputs, (3, 1, 1), 1, (1, 0, 0), bias=False),
        SyncBatchNorm(outputs),
        nn.ReLU(inplace=True),
    )


class ActionEncoder(nn.Module):
    """f_E: a backbone and its classification layer, with dropout between them."""

    weights_record: WeightsRecord | None = None

    def __init__(self, cfg: ActionEncoderConfig, n_classes: int) -> None:
        """Build the encoder; it starts from cfg.weights where given, the classification layer where it fits."""
        super().__init__()
        self.cfg = cfg
        self.backbone: R2Plus1D18 | TinyR2Plus1D
        if cfg.variant == "tiny":
            self.backbone = TinyR2Plus1D(n_classes)
        else:
            self.backbone = R2Plus1D18(n_classes, cfg.layer4)
        self._video_features = compiled(self.backbone.features, cfg.compile)
        self.dropout = nn.Dropout(cfg.dropout)
        if cfg.weights is not None:
            self.weights_record = load_into(self.backbone, cfg.weights, "stem.0.weight", optional=("fc.",))

    def features(self, frames: Tensor) -> Tensor:
        """Map frames [B, T, C, H, W] to features [B, D]."""
        with computed_in(self.cfg.precision, frames.device):
            features = self._video_features(channels_last(frames.transpose(1, 2)))
        return widened(features)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames [B, T, C, H, W] to logits [B, C]."""
        logits: Tensor = self.backbone.fc(self.dropout(self.features(frames)))
        return logits

    @torch.no_grad()
    def predict(self, frames: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return p_E [B, C] = softmax of the logits, and the uncertainty [B] of its argmax by MC-dropout.

        Uncertainty is the standard deviation of the predicted class's probability over cfg.mc_passes dropout masks
        (UPS, Rizve et al., ICLR 2021). The masks are drawn once from `seed` and shared by all clips, so a clip's value
        depends neither on its batch nor on its place in it. Call in evaluation mode.
        """
        features = self.features(frames)
        probabilities = self.backbone.fc(features).softmax(-1)
        masks = self._masks(seed).to(features)
        passes = torch.stack([self.backbone.fc(features * mask).softmax(-1) for mask in masks])
        predicted = probabilities.argmax(-1)
        spread = passes.std(0).gather(1, predicted[:, None]).squeeze(1)
        return probabilities, spread

    def _masks(self, seed: int) -> Tensor:
        """Draw dropout masks [passes, D], scaled as in training."""
        generator = torch.Generator().manual_seed(seed)
        kept = torch.rand(self.cfg.mc_passes, self.backbone.width, generator=generator) >= self.cfg.dropout
        return kept / (1 - self.cfg.dropout)


def build_action_encoder(cfg: ActionEncoderConfig, n_classes: int) -> ActionEncoder:
    """Build f_E for n_classes. Raises UserError when cfg.weights is missing or does not fit."""
    return ActionEncoder(cfg, n_classes)
