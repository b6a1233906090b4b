"""TimeSformer (Bertasius et al., ICML 2021), divided space-time attention: Table 10 (ViT-B), SeFAR (ViT-S, ViT-B).

Started from an image ViT it is that ViT at first: temporal attention is a copy of the spatial, what follows it is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from finepseudo.encoders.vit import EPS, Attention, Block, ImageTokens, depth_rates


class DividedBlock(Block):
    """Attention over time, then over space, then the perceptron; tokens [B, 1 + S T, D], places before times."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        """Make a block; the layer behind temporal attention starts at zero."""
        super().__init__(width, heads, drop_path=drop_path)
        self.temporal_norm1 = nn.LayerNorm(width, EPS)
        self.temporal_attn = Attention(width, heads)
        self.temporal_fc = nn.Linear(width, width)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """Map tokens [B, 1 + S T, D] of `frames` T to the same."""
        clips = x.shape[0]  # not len(): a program of torch.export takes any number
        token, patches = x[:, :1], x[:, 1:]
        places = patches.shape[1] // frames  # named: a rank may hold no clip at all
        times = patches.reshape(clips * places, frames, x.shape[-1])  # [B S, T, D]
        moved = self.drop_path(self.temporal_attn(self.temporal_norm1(times)))
        patches = patches + self.temporal_fc(moved.reshape(patches.shape))
        images = patches.unflatten(1, (-1, frames)).transpose(1, 2)  # [B, T, S, D]
        images = torch.cat([token[:, None].expand(-1, frames, -1, -1), images], 2).flatten(0, 1)
        seen = self.drop_path(self.attn(self.norm1(images))).unflatten(0, (clips, frames))
        token = token + seen[:, :, 0].mean(1, keepdim=True)
        patches = patches + seen[:, :, 1:].transpose(1, 2).flatten(1, 2)
        x = torch.cat([token, patches], 1)
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class TimeSformer(ImageTokens):
    """Video ViT; its clip may be shared out to groups of frames, each with a time code of its own (SeFAR)."""

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 16,
        size: int = 224,
        frames: int = 8,
        drop_path: float = 0.1,
    ) -> None:
        """Make the network for `frames` frames of `size` pixels."""
        super().__init__(width, patch, size)
        self.frames = frames
        self.time_embeds = nn.ParameterList([torch.zeros(1, frames, width)])
        self.blocks = nn.ModuleList(DividedBlock(width, heads, rate) for rate in depth_rates(drop_path, depth))
        self.norm = nn.LayerNorm(width, EPS)
        self.start()
        for module in self.modules():
            if isinstance(module, DividedBlock):
                nn.init.zeros_(module.temporal_fc.weight)

    def share_out(self, slots: Sequence[Sequence[int]]) -> None:
        """Give each group of frames a time code of its own: that of the whole clip at its slots, zero at the start."""
        (whole,) = self.time_embeds
        self.time_embeds = nn.ParameterList([whole.detach()[:, list(own)].clone() for own in slots])

    def forward(self, video: Tensor, group: int = 0) -> Tensor:
        """Map video [B, 3, T, H, W] of a group's T frames to features [B, D], those of the class token."""
        clips, frames = video.shape[0], video.shape[2]
        code = self.time_embeds[group]
        if frames != code.shape[1]:
            raise ValueError(f"{frames} frames do not fit the {code.shape[1]} of time code {group}")
        images = self.patch_embed(video.transpose(1, 2).flatten(0, 1))
        patches = (images + self.pos_embed[:, 1:]).unflatten(0, (clips, frames))  # [B, T, S, D]
        patches = patches + code[:, :, None]
        token = (self.cls_token + self.pos_embed[:, :1]).expand(clips, -1, -1)
        x = torch.cat([token, patches.transpose(1, 2).flatten(1, 2)], 1)
        for block in self.blocks:
            x = block(x, frames)
        features: Tensor = self.norm(x[:, 0])
        return features

    def over_time(self, output: Tensor) -> Tensor:
        """Map tokens [B, 1 + S T, D] to their mean over places [B, T, D]."""
        clips, places = output.shape[0], self.pos_embed.shape[1] - 1
        return output[:, 1:].reshape(clips, places, (output.shape[1] - 1) // places, output.shape[2]).mean(1)
