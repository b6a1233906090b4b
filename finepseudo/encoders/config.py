"""Settings of the two encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finepseudo.precision import Precision

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
    # open in the paper; bf16 is autocast of the encoder alone, embeddings and everything after them stay in float32
    precision: Precision = "fp32"

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


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionEncoderConfig:
    """Choice and start of f_E."""

    # paper, sec 4.1: R(2+1)D-18 on the fine-grained sets; tiny is this project's stand-in for a CPU
    variant: Literal["r2plus1d_18", "tiny"] = "r2plus1d_18"
    # first block of the last stage: torchvision's, or TCLR's undivided dilated convolution without temporal stride
    layer4: Literal["torchvision", "tclr"] = "torchvision"
    # paper, sec 4.2: TCLR on Kinetics-400; random where no file is given, and reported so
    init: Literal["tclr", "kinetics_sup", "random"] = "random"
    # checkpoint file; needed unless init is random
    weights: str | None = None
    # open in the paper; bf16 is autocast of the backbone alone, the classification layer and the loss stay in float32
    precision: Precision = "fp32"
    # open in the paper; dropout before the last layer, the source of chance of MC-dropout (UPS trains with .3)
    dropout: float = 0.3
    # UPS: passes of MC-dropout for the strategy `uncertainty`
    mc_passes: int = 10

    def __post_init__(self) -> None:
        """Refuse an initialisation without its file or for another network."""
        if (self.init == "random") != (self.weights is None):
            raise ValueError(f"init {self.init} with weights {self.weights}: give both, or init random and no weights")
        if self.variant == "tiny" and (self.init != "random" or self.layer4 != "torchvision"):
            raise ValueError(f"variant tiny takes no init {self.init} or layer4 {self.layer4}: use variant r2plus1d_18")
        if (self.init == "tclr") != (self.layer4 == "tclr") and self.init != "random":
            raise ValueError(f"init {self.init} does not fit layer4 {self.layer4}: TCLR's weights need layer4 tclr")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} must lie in [0, 1)")
        if self.mc_passes < 2:
            raise ValueError(f"mc_passes {self.mc_passes} must be at least 2 to have a spread")
