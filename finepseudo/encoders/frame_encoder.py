"""f_A, the alignability encoder: frames to one unit vector a frame that knows its temporal context.

VTN in the form of CARL (Chen et al., CVPR 2022), which the paper names: an image encoder a frame, sine-cosine
positions, a pre-LN transformer over time. Shapes: B clips, T frames, F embedding size (both open in the
paper), P projection size.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.compute.networks import channels_last, compiled, computed_in
from finepseudo.distributed import SyncBatchNorm, widened
from finepseudo.encoders.building import Network, build_backbone, fill, freeze_trunk
from finepseudo.encoders.config import FrameEncoderConfig
from finepseudo.encoders.weights import WeightsRecord


class FrameEncoder(nn.Module):
    """f_A with the projection head g of its pre-training. Embeddings are unit vectors, taken before g.

    features: D, those of a frame that the image encoder gives.
    """

    weights_record: WeightsRecord | None = None
    places: Tensor

    def __init__(self, cfg: FrameEncoderConfig, *, start: bool = True) -> None:
        """Build the encoder; where `start`, from cfg.weights. What is frozen depends on cfg alone."""
        super().__init__()
        self.cfg = cfg
        self.image_frozen = False
        self.image = build_backbone(cfg)
        features, width = cast(Network, self.image).width, cfg.size("width")
        self.features = features
        embedding, projection = cfg.size("embedding"), cfg.size("projection")
        self.dense = _dense(features, cfg.size("hidden"), width, cfg.dropout)
        self.register_buffer("places", self._codes(cfg.train_length, width), persistent=False)
        self.position_dropout = nn.Dropout(cfg.dropout)
        self.temporal = _temporal(cfg)
        self._image_features = compiled(self.image.forward, cfg.compile)
        self._in_time = compiled(self.temporal.forward, cfg.compile)
        self.embed = nn.Linear(width, embedding)
        self.projector = nn.Sequential(
            nn.Linear(embedding, embedding), SyncBatchNorm(embedding), nn.ReLU(), nn.Linear(embedding, projection)
        )
        if start:
            self.weights_record = fill(self, self.image, cfg)
        freeze_trunk(self.image, cfg)
        self.image_frozen = not any(parameter.requires_grad for parameter in self.image.parameters())

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
        """Embed frames [B, T, C, H, W], or the `frame_features` of them [B, T, D], as unit vectors [B, T, F]."""
        return self.in_time(self.described(frames))

    def described(self, frames: Tensor) -> Tensor:
        """Describe each frame of [B, T, C, H, W] by itself: [B, T, width], without place or context.

        In place of frames it takes what `frame_features` gave of them, [B, T, D].
        """
        features = frames if frames.dim() == 3 else self.frame_features(frames)
        with computed_in(self.cfg.precision, frames.device):
            described: Tensor = self.dense(features.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return described

    def frame_features(self, frames: Tensor) -> Tensor:
        """Map frames [B, T, C, H, W] to features of the image encoder [B, T, D]; no gradient where it is frozen."""
        with (
            computed_in(self.cfg.precision, frames.device),
            torch.set_grad_enabled(torch.is_grad_enabled() and not self.image_frozen),
        ):
            features: Tensor = self._image_features(channels_last(frames.flatten(0, 1)))
        return features.view(*frames.shape[:2], features.shape[-1])

    def in_time(self, x: Tensor, order: Tensor | None = None) -> Tensor:
        """Embed what `described` gives [B, T, width] as unit vectors [B, T, F].

        order [B, T]: the place in time that each frame is told; None = the true one.
        """
        places, length = self.places, x.shape[1]
        if length != len(places):
            places = self._codes(length, x.shape[-1])
        places = places.to(x)
        with computed_in(self.cfg.precision, x.device):
            x = self.position_dropout(x + (places if order is None else places[order]))
            embeddings = self.embed(self._in_time(x))
        return F.normalize(widened(embeddings), dim=-1)

    def _codes(self, length: int, width: int) -> Tensor:
        return positions(length, width, self.cfg.train_length, carl=self.cfg.codes_of_carl)

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


def _temporal(cfg: FrameEncoderConfig) -> nn.TransformerEncoder:
    """Pre-LN transformer; dropout where CARL has it: on what a layer adds, not inside attention and perceptron."""
    width, heads, ffn = (cfg.size(name) for name in ("width", "heads", "ffn"))
    layer = nn.TransformerEncoderLayer(width, heads, ffn, cfg.dropout, batch_first=True, norm_first=True)
    layer.self_attn.dropout = cfg.inner_dropout
    layer.dropout = nn.Dropout(cfg.inner_dropout)
    temporal = nn.TransformerEncoder(layer, cfg.size("layers"), enable_nested_tensor=False)
    for parameter in temporal.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return temporal


def positions(length: int, width: int, train_length: int, *, carl: bool = False) -> Tensor:
    """Sine-cosine position codes [length, width]; another length is stretched onto [0, train_length - 1].

    carl: sine and cosine of a pair of columns 2 k, 2 k + 1 have a rate each, 10000^(-column / width), as in CARL's
    code; they share that of 2 k otherwise (Vaswani et al., 2017).
    """
    steps = torch.linspace(0, train_length - 1, length) if length != train_length else torch.arange(float(length))
    sines, cosines = (
        steps[:, None] * torch.exp(torch.arange(first, width + first, 2) * (-math.log(10000.0) / width))
        for first in (0, int(carl))
    )
    return torch.stack([sines.sin(), cosines.cos()], dim=-1).flatten(1)


def build_frame_encoder(cfg: FrameEncoderConfig, *, start: bool = True) -> FrameEncoder:
    """Build f_A; without `start` its trained weights follow and cfg.weights need not be there any more.

    Raises UserError when cfg.weights is missing or does not fit.
    """
    return FrameEncoder(cfg, start=start)
