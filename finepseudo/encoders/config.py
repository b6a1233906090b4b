"""Settings of the two encoders: which backbone, and which weights it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from finepseudo.compute.config import COMPILE_HELP, PRECISION_HELP, Precision
from finepseudo.encoders.contract import Backbone, Expected, Kind, Layout, Published, code_of, modules_of
from finepseudo.encoders.table import ACTION, FRAME, backbone
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from shards.settings import BadSetting, Settings, section, setting

RANDOM = "random"
RUN = "run"
TCLR = "tclr"
OWN: Mapping[Kind, Published] = {
    "frame": Published(
        about="an f_A of this project",
        layouts=(Layout(name=RUN, anchor="", prefers=("encoder.",), drops=()),),
        expects=None,
        whole=True,
    ),
    "action": Published(
        about="an f_E of this project",
        layouts=(Layout(name=RUN, anchor="", prefers=("encoder.backbone.",), drops=()),),
        expects=None,
    ),
}
"""Weights of a run's own stages."""
_ONE_KEY = "is no key any more: weights says it all, as weights=tclr:FILE, weights=byol:FILE or weights=random"


@dataclass(frozen=True, slots=True)
class Start:
    """What an encoder starts from: a kind of published weights and its file, or neither for a random start."""

    kind: str | None
    file: Path | None
    published: Published | None

    @staticmethod
    def of(weights: str | None, row: Backbone, variant: str) -> Start:
        """Read `KIND:FILE`, `random` or nothing. Raises BadSetting that names the kinds of this backbone."""
        if weights is None or weights == RANDOM:
            return Start(None, None, None)
        if weights == TCLR and row.kind == "action":
            return Start(TCLR, None, row.published.get(TCLR))
        kind, colon, file = weights.partition(":")
        if kind == RUN and file:
            return Start(RUN, pretrained_file(Path(file).expanduser(), row.kind), _of_a_run(row))
        if not row.published:
            says = f"no published weights fit variant {variant}; leave them out, or take the variant that they fit"
            raise BadSetting("weights", weights, f"{says} (`finepseudo weights {file or weights}` names it)")
        if kind not in row.published or not colon or not file:
            says = f"`finepseudo weights {file or weights}` says what a file is"
            raise BadSetting("weights", weights, f"variant {variant} takes {_taken(row)}; {says}")
        return Start(kind, Path(file).expanduser(), row.published[kind])


def _of_a_run(row: Backbone) -> Published:
    """Say how a run's own weights are read; an f_E has TCLR's form and frames, where its row knows them."""
    own, tclr = OWN[row.kind], row.published.get(TCLR)
    return own if tclr is None else replace(own, options=tclr.options, expects=tclr.expects)


def _taken(row: Backbone) -> str:
    """List what `weights` may say."""
    kinds = [f"{name}:FILE" for name in row.published]
    own = [f"{TCLR} (on the videos of the run)"] if row.kind == "action" else []
    return f"{', '.join([*kinds, *own, f'{RUN}:PATH of a finished run'])} or {RANDOM}"


def pretrained_file(path: Path, kind: Kind) -> Path:
    """Find the pre-trained encoder of a run folder: the shared one, else that of the first draw; a file is itself."""
    paths = RunPaths(path)
    where = paths.pretrain if kind == "frame" else paths.action_pretrain
    found = [where(None), *(where(seed) for seed, _ in paths.seeds()), path]
    return next((folder / WEIGHTS for folder in found if (folder / WEIGHTS).is_file()), path)


class _Encoder(Settings):
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

    @property
    def row(self) -> Backbone:
        """The backbone's row."""
        return backbone(self.variant, self.KIND)

    @property
    def is_own(self) -> bool:
        """Tell a user's `module:Class` or `module:ROW` from a row of the table."""
        return ":" in self.variant

    @property
    def code(self) -> dict[str, Path]:
        """Give the source files behind a user's own variant by a name each; what they import is not followed."""
        layouts = self.start.published.layouts if self.start.published else ()
        paths = [self.variant, self.row.builder, *(layout.convert for layout in layouts if layout.convert)]
        modules = {name for path in paths for name in modules_of(path)} if self.is_own else set()
        return code_of(modules)

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
        if self.KIND == "action":
            kinds += f", or {TCLR} (pre-training on the videos of the run)"
        return (
            f"weights: variant {self.variant} needs {kinds}; "
            f"{self.KIND}_encoder.weights=random starts without, which is much worse"
        )

    def check(self) -> None:
        """Refuse a variant that is not there and weights that are not its own."""
        Start.of(self.weights, self.row, self.variant)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameEncoderConfig(_Encoder):
    """f_A: an image encoder, and the sizes of what stands on it. A size left empty is the variant's: (vtn, tiny)."""

    KIND: ClassVar[Kind] = "frame"

    variant: str = setting(
        "vtn",
        "image encoder below the transformer; vtn has a ResNet-50, tiny is this project's stand-in for a CPU",
        source="paper, sec 4.2 and Table 11",
        known=FRAME,
    )
    weights: str | None = setting(
        None,
        "what the image encoder starts from, as KIND:FILE (`finepseudo weights FILE` says the kind), with layer4 alone "
        "trained; run:PATH: the whole f_A of a finished run, its folder or a file of weights in it, without "
        "pre-training again; or random, with everything trained",
        source="paper, sec 4.2 and Table 11: unlabelled ImageNet, byol:FILE",
    )
    options: dict[str, Any] = section(dict, "arguments of the image encoder's builder", source="this project")
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
    dropout: float = setting(
        0.1,
        "dropout of dense layers, positions and what the transformer adds, not inside its attention and perceptron",
        source="CARL",
        at_least=0,
        below=1,
    )
    inner_dropout: float = setting(
        0.0,
        "dropout inside the transformer: of attention weights and of the hidden units of its perceptron",
        source="CARL: none",
        at_least=0,
        below=1,
    )
    train_length: int = setting(
        32,
        "T of training; clips of another length are stretched onto these positions",
        source="open in the paper",
        at_least=2,
    )
    position_codes: Literal["auto", "carl", "plain"] = setting(
        "auto",
        "rates of the cosines in the position codes: carl: their own, as in CARL's code | plain: those of the sines | "
        "auto: carl where weights are carl:FILE, else plain; a run that starts from the f_A of one of these needs carl",
        source="CARL",
    )
    precision: Precision = setting(
        "fp32",
        f"{PRECISION_HELP}; embeddings and everything after them stay in float32",
        source="open in the paper",
    )
    compile: bool = setting(False, COMPILE_HELP, source="this project")

    def check(self) -> None:
        """Refuse weights that do not fit and sizes that cannot be built."""
        _Encoder.check(self)
        if self.size("width") % (2 * self.size("heads")):
            rule = f"must be a multiple of 2 x heads ({self.size('heads')}); change one of them"
            raise BadSetting("width", self.size("width"), rule)

    @property
    def codes_of_carl(self) -> bool:
        """Whether the position codes are those of CARL's code."""
        return self.position_codes == "carl" or (self.position_codes == "auto" and self.start.kind == "carl")

    def size(self, name: str) -> int:
        """Return a size: the given one, or the variant's own."""
        given: int | None = getattr(self, name)
        return self.row.sizes[name] if given is None else given


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionEncoderConfig(_Encoder):
    """f_E: a backbone and its classification layer."""

    KIND: ClassVar[Kind] = "action"

    variant: str = setting(
        "r2plus1d_18",
        "backbone; r2plus1d_18 is R(2+1)D-18, tiny is this project's stand-in for a CPU",
        source="paper, sec 4.1: on the fine-grained sets",
        known=ACTION,
    )
    weights: str | None = setting(
        None,
        "what f_E starts from, as KIND:FILE (`finepseudo weights FILE` says the kind); tclr alone: pre-training by "
        "TCLR on the videos of the run itself (action_pretrain); run:PATH: that of another run; or random",
        source="paper: TCLR, sec 4.1 on Kinetics-400, tclr:FILE, sec 4.2 'on the given dataset', tclr",
    )
    options: dict[str, Any] = section(
        dict, "arguments of the backbone's builder, such as frames", source="this project"
    )
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
    mc_passes: int = setting(10, "passes of MC-dropout for `ups`; 2 or more have a spread", source="UPS", at_least=2)
    mc_temperature: float = setting(
        2.0, "temperature of the passes by which `ups` rules out classes", source="UPS's code: 2", above=0
    )

    @property
    def pretrains(self) -> bool:
        """Whether it is pre-trained on the videos of the run before it sees a label."""
        return self.weights == TCLR

    @property
    def unwatched(self) -> str | None:
        """Say why no loss can look at the stages of this encoder; None where one can."""
        if not self.row.staged:
            return f"variant {self.variant} has no stages to look at"
        return "a compiled encoder (action_encoder.compile) shows no stages" if self.compile else None
