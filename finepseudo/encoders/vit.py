"""Parts of a vision transformer, with timm's names: what the video transformers here are made of.

timm's own blocks cannot take their place: they attend over one axis, and their attention is not shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6
"""Of layer norm, as timm's ViT; CLIP's is 1e-5."""


class PatchEmbed(nn.Module):
    """A convolution whose steps are its patches: images or video to tokens."""

    def __init__(self, proj: nn.Module) -> None:
        """Take the convolution."""
        super().__init__()
        self.proj = proj

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] or video [N, 3, T, H, W] to tokens [N, L, D], in the order of (T,) H, W."""
        patches: Tensor = self.proj(x)
        return patches.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention over the tokens [N, L, D]."""

    def __init__(self, width: int, heads: int) -> None:
        """Make one layer for queries, keys and values, and one behind them."""
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N, L, D] to [N, L, D]."""
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        mixed: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return mixed


class QuickGELU(nn.Module):
    """OpenAI's approximation of GELU: x sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x [...] to [...]."""
        return x * torch.sigmoid(1.702 * x)


class Mlp(nn.Module):
    """Two layers with an activation between them."""

    def __init__(self, width: int, hidden: int, activation: type[nn.Module] = nn.GELU) -> None:
        """Make a perceptron width - hidden - width."""
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = activation()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., D] to [..., D]."""
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class DropPath(nn.Module):
    """Leaves a branch out for some rows in training, the others scaled up (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        """Leave out with probability `rate`."""
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, ...] to the same, row by row."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), device=x.device) >= self.rate
        return x * (kept / (1 - self.rate)).to(x.dtype).view(-1, *[1] * (x.dim() - 1))


class Block(nn.Module):
    """Pre-norm transformer block: x + attention, x + perceptron."""

    def __init__(
        self, width: int, heads: int, *, drop_path: float = 0.0, eps: float = EPS, activation: type[nn.Module] = nn.GELU
    ) -> None:
        """Make a block of perceptron width 4 D."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, 4 * width, activation)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N, L, D] to [N, L, D]."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class VideoTransformer(nn.Module):
    """What the video transformers here share: a width, and blocks, of which the last of each quarter ends a stage."""

    blocks: nn.ModuleList

    def __init__(self, width: int) -> None:
        """Note the width."""
        super().__init__()
        self.width = self.stage_width = width

    def start(self) -> None:
        """Initialise as ViT does: linear layers and codes normal with deviation .02, cut at 2; biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def stages(self) -> Sequence[nn.Module]:
        """Name the last block of each quarter: what stands for four stages."""
        count = len(self.blocks)
        return [self.blocks[max((quarter + 1) * count // 4 - 1, 0)] for quarter in range(4)]


class ImageTokens(VideoTransformer):
    """One over the patches of images, as an image ViT has them: a class token and learned positions beside them."""

    def __init__(self, width: int, patch: int, size: int, *, bias: bool = True) -> None:
        """Make the tokens of frames of `size` pixels; bias: of the patches, which CLIP has none of."""
        super().__init__(width)
        check_patches(size, patch)
        self.patch_embed = PatchEmbed(nn.Conv2d(3, width, patch, patch, bias=bias))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, width))

    def start(self) -> None:
        """Initialise as ViT does."""
        super().start()
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)


def check_patches(size: int, patch: int) -> None:
    """Refuse frames that are no whole number of patches wide."""
    if size % patch:
        raise ValueError(f"size {size} must be a multiple of the patch, {patch}")


def depth_rates(rate: float, depth: int) -> list[float]:
    """Rates of stochastic depth, rising from 0 to `rate`."""
    return [rate * place / max(depth - 1, 1) for place in range(depth)]
