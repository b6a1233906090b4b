"""f_A, the alignability encoder: frames to one unit vector a frame that knows its temporal context.

VTN in the form of CARL (Chen et al., CVPR 2022), which the paper names: an image encoder a frame, sine-cosine
positions, a pre-LN transformer over time. Shapes: B clips, T frames, F embedding size (both open in the
paper), P projection size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.compute import Precision, channels_last, compiled, computed_in
from finepseudo.distributed import SyncBatchNorm, widened
from finepseudo.pooling import bin_means
from finepseudo.resnet import ResNet50
from finepseudo.weights import WeightsRecord, load_into

_VTN = {"hidden": 512, "width": 256, "layers": 3, "heads": 8, "ffn": 1024, "embedding": 128, "projection": 128}
_TINY = {"hidden": 0, "width": 64, "layers": 2, "heads": 4, "ffn": 128, "embedding": 64, "projection": 64}


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameEncoderConfig:
    """Sizes of f_A. A size left empty is the variant's own: (vtn, tiny) in each comment."""

    # paper, sec 4.2 and Table 11: VTN with ResNet-50; tiny is this project's stand-in for a CPU
    variant: Literal["vtn", "tiny"] = "vtn"
    # (512, none) width of the two dense layers between image encoder and transformer; CARL
    hidden: int | None = None
    # (256, 64) transformer width; CARL
    width: int | None = None
    # (3, 2) transformer layers; CARL: 3 on PennAction and FineGym, 2 on Pouring and Kinetics
    layers: int | None = None
    # (8, 4) attention heads; CARL
    heads: int | None = None
    # (1024, 128) width of the feed-forward layers; CARL
    ffn: int | None = None
    # (128, 64) F, open in the paper: CARL's 128
    embedding: int | None = None
    # (128, 64) P, open in the paper ("MLP following SimCLR"): CARL's 128
    projection: int | None = None
    # CARL
    dropout: float = 0.1
    # T of training, open in the paper: 32; other lengths are stretched onto these positions
    train_length: int = 32
    # paper, sec 4.2 and Table 11: unlabelled ImageNet, that is BYOL; random where no file is given, and reported so
    init: Literal["byol", "imagenet_sup", "random"] = "random"
    # checkpoint file of the image encoder; needed unless init is random
    weights: str | None = None
    # open in the paper: fp32, tf32 or bf16 for convolutions and products of the encoder; embeddings and everything
    # after them stay in float32
    precision: Precision = "fp32"
    # torch.compile of images and transformer: minutes at the start, faster steps; off where the run is deterministic
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built and an initialisation without its file."""
        if self.size("width") % (2 * self.size("heads")):
            raise ValueError(
                f"width {self.size('width')} must be a multiple of 2 x heads ({self.size('heads')}): change one of them"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} must lie in [0, 1)")
        if self.train_length < 2:
            raise ValueError(f"train_length {self.train_length} must be at least 2 frames")
        if (self.init == "random") != (self.weights is None):
            raise ValueError(f"init {self.init} with weights {self.weights}: give both, or init random and no weights")
        if self.variant == "tiny" and self.init != "random":
            raise ValueError(f"init {self.init} needs variant vtn: no published weights fit tiny; use init random")

    def size(self, name: str) -> int:
        """Return a size: the given one, or the variant's own."""
        given: int | None = getattr(self, name)
        return (_VTN if self.variant == "vtn" else _TINY)[name] if given is None else given


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
