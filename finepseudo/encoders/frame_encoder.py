"""f_A, the alignability encoder: frames to one unit vector a frame that knows its temporal context.

VTN in the form of CARL (Chen et al., CVPR 2022), which the paper names: an image encoder a frame, sine-cosine
positions, a pre-LN transformer over time. Shapes: B clips, T frames, F embedding size (both open in the
paper), P projection size.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.compute.networks import channels_last, compiled, computed_in
from finepseudo.distributed import SyncBatchNorm, widened
from finepseudo.encoders.config import FrameEncoderConfig
from finepseudo.encoders.pooling import bin_means
from finepseudo.encoders.resnet import ResNet50
from finepseudo.encoders.weights import WeightsRecord, load_into


class TinyImageEncoder(nn.Module):
    """Four stride-2 convolutions 16-32-64-64, pooled to a 3 x 3 grid: frames [N, 3, H, W] to [N, 576]."""

    features = 64 * 9

    def __init__(self) -> None:
        """Make the convolutions with torch's initialisation."""
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        self.stages = nn.Sequential(*(_tiny_stage(i, o) for i, o in pairwise(widths)))

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames [N, 3, H, W] to features [N, 576]."""
        return bin_means(bin_means(self.stages(frames), 3, 2), 3, 3).flatten(1)


def _tiny_stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), SyncBatchNorm(outputs), nn.ReLU())


class FrameEncoder(nn.Module):
    """f_A with the projection head g of its pre-training. Embeddings are unit vectors, taken before g."""

    weights_record: WeightsRecord | None = None
    places: Tensor

    def __init__(self, cfg: FrameEncoderConfig) -> None:
        """Build the encoder; its image encoder starts from cfg.weights where given."""
        super().__init__()
        self.cfg = cfg
        self.image_frozen = False
        self.image: ResNet50 | TinyImageEncoder = ResNet50() if cfg.variant == "vtn" else TinyImageEncoder()
        width, embedding, projection = cfg.size("width"), cfg.size("embedding"), cfg.size("projection")
        self.dense = _dense(self.image.features, cfg.size("hidden"), width, cfg.dropout)
        self.register_buffer("places", positions(cfg.train_length, width, cfg.train_length), persistent=False)
        self.position_dropout = nn.Dropout(cfg.dropout)
        layer = nn.TransformerEncoderLayer(
            width, cfg.size("heads"), cfg.size("ffn"), cfg.dropout, batch_first=True, norm_first=True
        )
        self.temporal = nn.TransformerEncoder(layer, cfg.size("layers"), enable_nested_tensor=False)
        self._image_features = compiled(self.image.forward, cfg.compile)
        self._in_time = compiled(self.temporal.forward, cfg.compile)
        self.embed = nn.Linear(width, embedding)
        self.projector = nn.Sequential(
            nn.Linear(embedding, embedding), SyncBatchNorm(embedding), nn.ReLU(), nn.Linear(embedding, projection)
        )
        for parameter in self.temporal.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        if cfg.weights is not None:
            self.weights_record = load_into(self.image, cfg.weights, "conv1.weight", optional=("fc.",))

    def freeze_image_encoder(self) -> None:
        """Stop training the image encoder, running statistics included (paper, sec 4.2: stage 2 trains the rest)."""
        self.image_frozen = True
        self.image.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> FrameEncoder:
        """Set the training mode; a frozen image encoder stays in evaluation mode."""
        super().train(mode)
        if self.image_frozen:
            self.image.eval()
        return self

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames [B, T, C, H, W] as unit vectors [B, T, F]."""
        with computed_in(self.cfg.precision, frames.device):
            embeddings = self._embed(frames)
        return F.normalize(widened(embeddings), dim=-1)

    def _embed(self, frames: Tensor) -> Tensor:
        clips, length = frames.shape[:2]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.image_frozen):
            features = self._image_features(channels_last(frames.flatten(0, 1)))
        x = self.dense(features).unflatten(0, (clips, length))
        places = self.places
        if length != len(places):
            places = positions(length, x.shape[-1], self.cfg.train_length)
        x = self.position_dropout(x + places.to(x))
        embeddings: Tensor = self.embed(self._in_time(x))
        return embeddings

    def project(self, embeddings: Tensor) -> Tensor:
        """Apply the pre-training head g: [B, T, F] to unit vectors [B, T, P]."""
        return F.normalize(self.projector(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2]), dim=-1)


def _dense(inputs: int, hidden: int, width: int, dropout: float) -> nn.Sequential:
    """Two hidden layers and a linear one (CARL), or the linear one alone where hidden is 0."""
    layers: list[nn.Module] = []
    for size in (hidden, hidden) if hidden else ():
        layers += [nn.Dropout(dropout), nn.Linear(inputs, size), SyncBatchNorm(size), nn.ReLU()]
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, width))


def positions(length: int, width: int, train_length: int) -> Tensor:
    """Sine-cosine position codes [length, width]; another length is stretched onto [0, train_length - 1]."""
    steps = torch.linspace(0, train_length - 1, length) if length != train_length else torch.arange(float(length))
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = steps[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def build_frame_encoder(cfg: FrameEncoderConfig) -> FrameEncoder:
    """Build f_A. Raises UserError when cfg.weights is missing or does not fit."""
    return FrameEncoder(cfg)
