"""Our networks, forward and backward, in turn with torchvision's and timm's of the same shape."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from finepseudo.bench.race import Contender, Target, race, table_row
from finepseudo.encoders.resnet import ResNet50
from finepseudo.encoders.timesformer import DividedBlock, TimeSformer
from finepseudo.encoders.video_resnet import VideoResNet18
from finepseudo.encoders.vit import EPS
from jobs.bench.data import Figure

SAME = Figure(target=Target(must=1.02, aim=1.0), unit="{:.3f}", smaller=True)
"""Our time over theirs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """Sides of the images, of the video and of the vision transformer's video; its blocks; rounds."""

    image: int = 112
    video: int = 56
    patches: int = 112
    depth: int = 2  # of 12: they are alike
    rounds: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One of our networks and one that does the same, and what both are given."""

    name: str
    ours: nn.Module
    theirs: nn.Module
    x: Tensor


def pairs(extent: Extent) -> Iterator[Pair]:
    """Make the pairs that the installed libraries allow. Classification layers are left out on both sides."""
    images = torch.randn(4, 3, extent.image, extent.image)
    if _installed("torchvision"):
        from torchvision import models

        video = torch.randn(1, 3, 8, extent.video, extent.video)
        yield Pair(name="ResNet-50 / torchvision's", ours=ResNet50(), theirs=_headless(models.resnet50()), x=images)
        theirs = _headless(models.video.r2plus1d_18())
        yield Pair(name="R(2+1)D-18 / torchvision's", ours=VideoResNet18(), theirs=theirs, x=video)
    if _installed("timm"):
        import timm

        theirs = timm.create_model("resnet50", pretrained=False, num_classes=0)
        yield Pair(name="ResNet-50 / timm's", ours=ResNet50(), theirs=theirs, x=images)
        ours = TimeSformer(size=extent.patches, depth=extent.depth, drop_path=0.0)
        video = torch.randn(1, 3, ours.frames, extent.patches, extent.patches)
        yield Pair(name="TimeSformer ViT-B / of timm's blocks", ours=ours, theirs=divided_of_timm(ours), x=video)


def divided_of_timm(ours: TimeSformer) -> nn.Module:
    """Give the same network and weights with timm's attention, norms and perceptrons in every block."""
    theirs = copy.deepcopy(ours)
    theirs.blocks = nn.ModuleList(_block_of_timm(block, ours.width) for block in theirs.blocks)
    theirs.load_state_dict(ours.state_dict())
    return theirs.to(ours.cls_token)


def _block_of_timm(block: nn.Module, width: int) -> nn.Module:
    """Put timm's parts, whose names are ours, where ours stand; how tokens are laid out is TimeSformer's own."""
    from timm.models import vision_transformer as timm_vit

    if not isinstance(block, DividedBlock):
        raise TypeError(f"{type(block).__name__} is no block of TimeSformer")
    heads = block.attn.heads
    whole = timm_vit.Block(width, heads, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=EPS))
    for name in ("norm1", "attn", "norm2", "mlp"):
        setattr(block, name, getattr(whole, name))
    temporal = timm_vit.Block(width, heads, qkv_bias=True)
    block.temporal_attn = temporal.attn
    return block


def race_peers(extent: Extent) -> None:
    """Print a row a pair, and what could not be measured."""
    for pair in pairs(extent):
        ours, theirs = (
            Contender(call=_both_ways(network.train(), pair.x), items=1) for network in (pair.ours, pair.theirs)
        )
        race({"ours": ours, "theirs": theirs}, extent.rounds)
        table_row(pair.name, SAME.cells(theirs.ratios(ours)))
    for library in ("torchvision", "timm"):
        if not _installed(library):
            table_row(f"ours / {library}'s", SAME.cells(f"not measured: {library} is in the extra `encoders`"))


def _headless(network: nn.Module) -> nn.Module:
    network.fc = nn.Identity()
    return network


def _installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _both_ways(network: nn.Module, x: Tensor) -> Callable[[], None]:
    def call() -> None:
        network(x).sum().backward()
        network.zero_grad()

    return call
