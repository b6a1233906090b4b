"""Settings of the two encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finepseudo.compute.config import COMPILE_HELP, PRECISION_HELP, Precision
from shards.settings import BadSetting, Settings, setting

_VTN = {"hidden": 512, "width": 256, "layers": 3, "heads": 8, "ffn": 1024, "embedding": 128, "projection": 128}
_TINY = {"hidden": 0, "width": 64, "layers": 2, "heads": 4, "ffn": 128, "embedding": 64, "projection": 64}


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameEncoderConfig(Settings):
    """Sizes of f_A. A size left empty is the variant's own: (vtn, tiny) in the help of each."""

    variant: Literal["vtn", "tiny"] = setting(
        "vtn",
        "VTN with ResNet-50; tiny is this project's stand-in for a CPU",
        source="paper, sec 4.2 and Table 11",
    )
    hidden: int | None = setting(
        None,
        "width of the two dense layers between image encoder and transformer (512, none)",
        source="CARL",
        at_least=0,
    )
    width: int | None = setting(None, "transformer width (256, 64)", source="CARL", at_least=1)
    layers: int | None = setting(
        None,
        "transformer layers (3, 2)",
        source="CARL: 3 on PennAction and FineGym, 2 on Pouring and Kinetics",
        at_least=1,
    )
    heads: int | None = setting(None, "attention heads (8, 4)", source="CARL", at_least=1)
    ffn: int | None = setting(None, "width of the feed-forward layers (1024, 128)", source="CARL", at_least=1)
    embedding: int | None = setting(
        None, "F, size of a frame's embedding (128, 64)", source="open in the paper; CARL: 128", at_least=1
    )
    projection: int | None = setting(
        None,
        "P, size behind the projection head of pre-training (128, 64)",
        source="open in the paper ('MLP following SimCLR'); CARL: 128",
        at_least=1,
    )
    dropout: float = setting(0.1, "dropout of the transformer", source="CARL", at_least=0, below=1)
    train_length: int = setting(
        32,
        "T of training; clips of another length are stretched onto these positions",
        source="open in the paper",
        at_least=2,
    )
    init: Literal["byol", "imagenet_sup", "random"] = setting(
        "random",
        "what the image encoder starts from; random where no file is given, and reported so",
        source="paper, sec 4.2 and Table 11: unlabelled ImageNet, that is BYOL",
    )
    weights: str | None = setting(
        None, "checkpoint file of the image encoder; needed unless init is random", source="this project"
    )
    precision: Precision = setting(
        "fp32",
        f"{PRECISION_HELP}; embeddings and everything after them stay in float32",
        source="open in the paper",
    )
    compile: bool = setting(False, COMPILE_HELP, source="this project")

    def check(self) -> None:
        """Refuse sizes that cannot be built and an initialisation without its file."""
        if self.size("width") % (2 * self.size("heads")):
            rule = f"must be a multiple of 2 x heads ({self.size('heads')}); change one of them"
            raise BadSetting("width", self.size("width"), rule)
        _check_weights(self.init, self.weights)
        if self.variant == "tiny" and self.init != "random":
            raise BadSetting("init", self.init, "no published weights fit variant tiny; use init random or variant vtn")

    def size(self, name: str) -> int:
        """Return a size: the given one, or the variant's own."""
        given: int | None = getattr(self, name)
        return (_VTN if self.variant == "vtn" else _TINY)[name] if given is None else given


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionEncoderConfig(Settings):
    """Choice and start of f_E."""

    variant: Literal["r2plus1d_18", "tiny"] = setting(
        "r2plus1d_18",
        "R(2+1)D-18; tiny is this project's stand-in for a CPU",
        source="paper, sec 4.1: on the fine-grained sets",
    )
    layer4: Literal["torchvision", "tclr"] = setting(
        "torchvision",
        "first block of the last stage: torchvision's, or TCLR's undivided dilated convolution without temporal stride",
        source="TCLR",
    )
    init: Literal["tclr", "kinetics_sup", "random"] = setting(
        "random",
        "what f_E starts from; random where no file is given, and reported so",
        source="paper, sec 4.2: TCLR on Kinetics-400",
    )
    weights: str | None = setting(None, "checkpoint file; needed unless init is random", source="this project")
    precision: Precision = setting(
        "fp32",
        f"{PRECISION_HELP}; in bf16 the classification layer, and always the loss, stays in float32",
        source="open in the paper",
    )
    compile: bool = setting(False, COMPILE_HELP, source="this project")
    dropout: float = setting(
        0.3,
        "dropout before the last layer, the source of chance of MC-dropout",
        source="open in the paper; UPS trains with .3",
        at_least=0,
        below=1,
    )
    mc_passes: int = setting(
        10, "passes of MC-dropout for `uncertainty`; 2 or more have a spread", source="UPS", at_least=2
    )

    def check(self) -> None:
        """Refuse an initialisation without its file or for another network."""
        _check_weights(self.init, self.weights)
        if self.variant == "tiny" and self.init != "random":
            raise BadSetting("init", self.init, "no weights fit variant tiny; use init random or variant r2plus1d_18")
        if self.variant == "tiny" and self.layer4 != "torchvision":
            raise BadSetting("layer4", self.layer4, "variant tiny has no such layer; use variant r2plus1d_18")
        if (self.init == "tclr") != (self.layer4 == "tclr") and self.init != "random":
            rule = f"weights of init {self.init} do not fit; TCLR's need layer4 tclr, others layer4 torchvision"
            raise BadSetting("layer4", self.layer4, rule)


def _check_weights(init: str, weights: str | None) -> None:
    if (init == "random") != (weights is None):
        raise BadSetting("weights", weights, f"does not go with init {init}; give both, or init random and no weights")
