"""AIM (Yang et al., ICLR 2023): a frozen CLIP image encoder with small adapters for time, space and both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from finepseudo.encoders.vit import Block, ImageTokens, QuickGELU, depth_rates

CLIP_EPS = 1e-5
MLP_SCALE = 0.5
"""Of the adapter beside the perceptron."""
TRAINED = ("temporal_embedding", "norm.", "t_adapter.", "s_adapter.", "mlp_adapter.")
"""Parts of the names of what is trained when CLIP's weights are given."""
UNDECAYED = ("cls_token", "pos_embed", "norm")
"""Parts of the names of what AIM's recipe exempts from weight decay: CLIP's class token, positions and layer norms."""


class Adapter(nn.Module):
    """Bottleneck of a quarter of the width whose second layer starts at zero, around which x may pass."""

    def __init__(self, width: int, *, skip: bool) -> None:
        """Make an adapter that starts as x where `skip`, as zero otherwise."""
        super().__init__()
        self.skip = skip
        self.fc1 = nn.Linear(width, width // 4)
        self.fc2 = nn.Linear(width // 4, width)

    def start(self) -> None:
        """Set the second layer to zero."""
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., D] to [..., D]."""
        y: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return x + y if self.skip else y


class AdaptedBlock(Block):
    """CLIP's block, its attention used over time and over space; tokens [B, T, L, D]."""

    def __init__(self, width: int, heads: int, drop_path: float, activation: type[nn.Module]) -> None:
        """Make a block with three adapters."""
        super().__init__(width, heads, drop_path=drop_path, eps=CLIP_EPS, activation=activation)
        self.t_adapter = Adapter(width, skip=False)
        self.s_adapter = Adapter(width, skip=True)
        self.mlp_adapter = Adapter(width, skip=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [B, T, L, D] to the same."""
        clips, frames, places, width = x.shape  # named: a rank may hold no clip at all
        times = self.norm1(x).transpose(1, 2).flatten(0, 1)  # [B L, T, D]
        moved: Tensor = self.t_adapter(self.attn(times))
        x = x + self.drop_path(moved.view(clips, places, frames, width).transpose(1, 2))
        seen: Tensor = self.s_adapter(self.attn(self.norm1(x).flatten(0, 1)))
        x = x + seen.view(x.shape)
        y = self.norm2(x)
        out: Tensor = x + self.mlp(y) + self.drop_path(MLP_SCALE * self.mlp_adapter(y))
        return out


class Aim(ImageTokens):
    """CLIP's ViT over every frame, adapted; features are the mean class token over the frames."""

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 16,
        size: int = 224,
        frames: int = 32,
        drop_path: float = 0.2,
        activation: Literal["quick_gelu", "gelu"] = "quick_gelu",
    ) -> None:
        """Make the network for `frames` frames of `size` pixels; OpenAI's CLIP has quick_gelu, LAION's gelu."""
        super().__init__(width, patch, size, bias=False)
        kind = {"quick_gelu": QuickGELU, "gelu": nn.GELU}[activation]
        self.temporal_embedding = nn.Parameter(torch.zeros(1, frames, width))
        self.norm_pre = nn.LayerNorm(width, CLIP_EPS)
        self.blocks = nn.ModuleList(AdaptedBlock(width, heads, rate, kind) for rate in depth_rates(drop_path, depth))
        self.norm = nn.LayerNorm(width, CLIP_EPS)
        self.start()
        for module in self.modules():
            if isinstance(module, Adapter):
                module.start()

    def freeze_trunk(self) -> None:
        """Leave CLIP as it is: 11 M of 97 M parameters are trained."""
        for name, parameter in self.named_parameters():
            own = name.startswith(TRAINED) or any(f".{part}" in name for part in TRAINED[2:])
            parameter.requires_grad_(own)

    def undecayed(self) -> Iterator[nn.Parameter]:
        """Give what has no weight decay; adapters and the time code have it."""
        return (parameter for name, parameter in self.named_parameters() if any(part in name for part in UNDECAYED))

    def forward(self, video: Tensor) -> Tensor:
        """Map video [B, 3, T, H, W] to features [B, D]."""
        clips, frames = video.shape[0], video.shape[2]
        if frames != self.temporal_embedding.shape[1]:
            raise ValueError(f"{frames} frames do not fit the {self.temporal_embedding.shape[1]} of the time code")
        patches = self.patch_embed(video.transpose(1, 2).flatten(0, 1))
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1) + self.pos_embed
        x = tokens.view(clips, frames, *tokens.shape[1:]) + self.temporal_embedding[:, :, None]
        x = self.norm_pre(x)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.norm(x[:, :, 0]).mean(1)
        return features

    def over_time(self, output: Tensor) -> Tensor:
        """Map tokens [B, T, L, D] to their mean over places [B, T, D]."""
        return output.mean(2)
