"""Image encoders of timm, for f_A: DINOv2, DINOv3, CLIP and whatever else timm names. timm is an extra: `encoders`."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from shards.errors import UserError

FROZEN_CHUNK = 256
"""Frames that pass a frozen network at once: bounds the memory, changes no number."""


class TimmImageEncoder(nn.Module):
    """A network of timm without its classification layer: frames to its pooled features."""

    def __init__(self, model: str, size: int = 224) -> None:
        """Build timm's `model` for frames of `size` pixels. Raises UserError if timm is missing or has no such one."""
        super().__init__()
        try:
            import timm
        except (ImportError, RuntimeError) as error:  # the latter: a torchvision that was built for another torch
            raise UserError(f"variant needs timm ({error}): pip install 'finepseudo[encoders]'") from error
        try:
            self.net: nn.Module = timm.create_model(model, pretrained=False, num_classes=0, img_size=size)
        except RuntimeError as error:
            raise UserError(f"timm {timm.__version__} cannot build {model}: {error}") from error
        self.width = int(self.net.num_features)
        self.frozen = False

    def freeze_trunk(self) -> None:
        """Freeze the whole network: a lab uses it as it was published."""
        self.frozen = True
        self.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> TimmImageEncoder:
        """Set the training mode; a frozen network stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames [N, 3, H, W] to features [N, D]."""
        if not self.frozen:
            features: Tensor = self.net(frames)
            return features
        with torch.no_grad():
            return torch.cat([self.net(part) for part in torch.split(frames, FROZEN_CHUNK)])


def published_names(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename by timm's own rules, which know its publishers' layouts and fit position codes to the size.

    Raises ValueError where they cannot make anything of a file, of another network of the same names.
    """
    net = network.net
    rules = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    try:
        renamed = tensors if rules is None else rules(tensors, net)
    except Exception as error:  # they reshape what they take for theirs, and raise whatever comes of it
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"timm's rules for {type(net).__name__} do not fit this file ({first})") from error
    unused = ("head.", "fc.", "mask_token", "text.")
    return {f"net.{name}": value for name, value in renamed.items() if not name.startswith(unused)}
