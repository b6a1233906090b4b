"""Settings of the two encoders: which backbone, and which weights it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from finepseudo.encoders.contract import Backbone, Expected, Kind, Published
from finepseudo.encoders.table import backbone
from finepseudo.precision import Precision

RANDOM = "random"
_ONE_KEY = "is no key any more: weights says it all, as weights=tclr:FILE, weights=byol:FILE or weights=random"


@dataclass(frozen=True, slots=True)
class Start:
    """What an encoder starts from: a kind of published weights and its file, or neither for a random start."""

    kind: str | None
    file: Path | None
    published: Published | None

    @staticmethod
    def of(weights: str | None, row: Backbone, variant: str) -> Start:
        """Read `KIND:FILE`, `random` or nothing. Raises ValueError that names the kinds of this backbone."""
        if weights is None or weights == RANDOM:
            return Start(None, None, None)
        kind, colon, file = weights.partition(":")
        kinds = ", ".join(f"{name}:FILE" for name in row.published)
        if not kinds:
            raise ValueError(f"weights {weights!r}: no published weights fit variant {variant}; leave them out")
        if kind not in row.published or not colon or not file:
            path = file if colon else weights
            raise ValueError(
                f"weights {weights!r}: variant {variant} takes {kinds} or {RANDOM}; `finepseudo weights {path}` says "
                "what a file is"
            )
        return Start(kind, Path(file).expanduser(), row.published[kind])


class _Encoder:
    """What both settings share: the row of the variant and the start that `weights` names."""

    __slots__ = ()
    KIND: ClassVar[Kind]
    OLD_KEYS: ClassVar[Mapping[str, str]] = {
        "init": _ONE_KEY,
        "layer4": f"{_ONE_KEY}; TCLR's layer4 comes with tclr:FILE",
    }
    variant: str
    weights: str | None
    options: dict[str, Any]
    dropout: float

    @property
    def row(self) -> Backbone:
        """The backbone's row."""
        return backbone(self.variant, self.KIND)

    @property
    def start(self) -> Start:
        """What the encoder starts from."""
        return Start.of(self.weights, self.row, self.variant)

    @property
    def weights_file(self) -> Path | None:
        """The checkpoint file, None for a random start."""
        return self.start.file

    @property
    def built_from(self) -> dict[str, Any]:
        """The builder's arguments: of the row, of the weights, of the recipe."""
        published = self.start.published
        return {**self.row.options, **(published.options if published else {}), **self.options}

    @property
    def expects(self) -> Expected | None:
        """The frames this encoder was trained on, or is made for; None where anything goes."""
        published = self.start.published
        expected = self.row.expects if published is None else published.expects
        if expected is None:
            return None
        own = {name: self.options[name] for name in ("size", "frames") if name in self.options}
        return replace(expected, **own)

    @property
    def without_weights(self) -> str | None:
        """Say what is missing where a backbone with published weights has been given none."""
        if self.weights is not None or not self.row.published:
            return None
        kinds = " or ".join(f"{name}:FILE" for name in self.row.published)
        return (
            f"weights: variant {self.variant} needs {kinds}; write weights=random to start without, which is much worse"
        )

    def _check(self) -> None:
        """Refuse a variant that is not there, weights that are not its own and a dropout that is no probability."""
        Start.of(self.weights, self.row, self.variant)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameEncoderConfig(_Encoder):
    """f_A: an image encoder, and the sizes of what stands on it. A size left empty is the variant's: (vtn, tiny)."""

    KIND: ClassVar[Kind] = "frame"

    # paper, sec 4.2 and Table 11: vtn, with ResNet-50; vtn_dinov2_b and others of the table; module:Class
    variant: str = "vtn"
    # paper, sec 4.2 and Table 11: unlabelled ImageNet, byol:FILE; from published weights layer4 alone is trained, and
    # where `random` is typed everything is
    weights: str | None = None
    # arguments of the image encoder's builder
    options: dict[str, Any] = field(default_factory=dict)
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
    # CARL: of dense layers, positions and what the transformer adds, not inside its attention and perceptron
    dropout: float = 0.1
    # T of training, open in the paper: 32; other lengths are stretched onto these positions
    train_length: int = 32
    # open in the paper; bf16 is autocast of the encoder alone, embeddings and everything after them stay in float32
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built and weights that do not fit."""
        self._check()
        if self.size("width") % (2 * self.size("heads")):
            raise ValueError(
                f"width {self.size('width')} must be a multiple of 2 x heads ({self.size('heads')}): change one of them"
            )
        if self.train_length < 2:
            raise ValueError(f"train_length {self.train_length} must be at least 2 frames")

    def size(self, name: str) -> int:
        """Return a size: the given one, or the variant's own."""
        given: int | None = getattr(self, name)
        return self.row.sizes[name] if given is None else given


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionEncoderConfig(_Encoder):
    """f_E: a backbone and its classification layer."""

    KIND: ClassVar[Kind] = "action"

    # paper, sec 4.1: R(2+1)D-18 on the fine-grained sets; others of the table; module:Class
    variant: str = "r2plus1d_18"
    # paper, sec 4.2: TCLR on Kinetics-400, tclr:FILE; where `random` is typed everything is trained
    weights: str | None = None
    # arguments of the backbone's builder, such as frames
    options: dict[str, Any] = field(default_factory=dict)
    # open in the paper; bf16 is autocast of the backbone alone, the classification layer and the loss stay in float32
    precision: Precision = "fp32"
    # open in the paper; dropout before the last layer, the source of chance of MC-dropout (UPS trains with .3)
    dropout: float = 0.3
    # UPS: passes of MC-dropout for the strategy `uncertainty`
    mc_passes: int = 10

    def __post_init__(self) -> None:
        """Refuse weights that do not fit and a spread of one pass."""
        self._check()
        if self.mc_passes < 2:
            raise ValueError(f"mc_passes {self.mc_passes} must be at least 2 to have a spread")
