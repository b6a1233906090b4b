"""VideoMAE (Tong et al., NeurIPS 2022) as fine-tuned: a plain ViT over tubes of two frames, mean token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from finepseudo.encoders.vit import EPS, Block, PatchEmbed, VideoTransformer, check_patches, depth_rates

TUBE = 2
"""Frames of a token."""


class VideoMae(VideoTransformer):
    """Joint space-time attention over tubes 2 x 16 x 16; positions are fixed codes."""

    positions: Tensor

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 16,
        size: int = 224,
        frames: int = 16,
        drop_path: float = 0.1,
    ) -> None:
        """Make the network for `frames` frames (even) of `size` pixels."""
        super().__init__(width)
        check_patches(size, patch)
        if frames % TUBE:
            raise ValueError(f"frames {frames} must be even")
        self.frames = frames
        self.patch_embed = PatchEmbed(nn.Conv3d(3, width, (TUBE, patch, patch), (TUBE, patch, patch)))
        tokens = frames // TUBE * (size // patch) ** 2
        self.register_buffer("positions", sine_codes(tokens, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, drop_path=rate) for rate in depth_rates(drop_path, depth))
        self.fc_norm = nn.LayerNorm(width, EPS)
        self.start()

    def forward(self, video: Tensor) -> Tensor:
        """Map video [B, 3, T, H, W] to features [B, D]."""
        tokens = self.patch_embed(video)
        if tokens.shape[1] != len(self.positions):
            raise ValueError(f"{video.shape[2]} frames of {video.shape[3]} pixels do not fit the position codes")
        x = tokens + self.positions.to(tokens.dtype)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.fc_norm(x.mean(1))
        return features

    def over_time(self, output: Tensor) -> Tensor:
        """Map tokens [B, T S, D] to their mean over places [B, T, D], T tubes."""
        clips, times = output.shape[0], self.frames // TUBE
        return output.reshape(clips, times, output.shape[1] // times, output.shape[2]).mean(2)


def sine_codes(count: int, width: int) -> Tensor:
    """Sine-cosine codes [count, width] of places 0.. in the order of the tokens, computed in 64 bit."""
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1).float()
