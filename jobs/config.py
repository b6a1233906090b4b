"""The configuration of a run: the only place that knows the configs of all three packages.

A recipe is YAML; `base:` names the recipe it differs from; `a.b=c` on the command line lays one value over it. Every
key is checked, and each stage hashes the part of it that its results depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from finepseudo.action_encoder import ActionEncoderConfig
from finepseudo.alignability import AlignabilityConfig, ScorerConfig
from finepseudo.frame_encoder import FrameEncoderConfig
from finepseudo.pseudo_labels import PseudoLabelConfig
from finepseudo.steps import CrossEntropyConfig
from finepseudo.temporal_ssl import GitdlConfig
from jobs.start_pictures import check_pictures
from jobs.train_loop import TrainConfig
from jobs.typed import Value, build, merge, nearest, plain, set_dotted
from shards.annotations.base import DatasetConfig
from shards.augment import AugmentConfig
from shards.cache import CacheConfig
from shards.label_split import SplitConfig
from shards.order import OrderConfig
from shards.plans import ShardConfig
from shards.reader import ReaderConfig
from shards.sampling import SamplingConfig
from shards.types import UserError

RECIPES = Path(__file__).parents[1] / "finepseudo" / "recipes"

StrategyName = Literal["supervised", "confidence", "uncertainty", "verification", "collaborative"]

ALIGNING: tuple[StrategyName, ...] = ("verification", "collaborative")
"""Strategies whose votes need the alignability encoder in every round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InputConfig:
    """What one encoder sees of a clip."""

    # which frames
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    # crop, flip, colour, normalisation
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingConfig:
    """How clips are decoded; the same for every stage."""

    # chosen by what the machine has: dali-gpu, else pyav
    decode: Literal["auto", "dali-gpu", "dali-cpu", "pyav"] = "auto"
    # decoding threads of a worker; auto: its share of the cores of its node, less one
    threads: int | Literal["auto"] = "auto"
    # batches decoded ahead
    prefetch: int = 2
    # share of unreadable clips above which a stage stops
    max_bad_fraction: float = 0.02
    # copies of remote shards on each node
    cache: CacheConfig = field(default_factory=CacheConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """GITDL pre-training of f_A on the videos alone."""

    # paper, sec 4.2: 100 epochs
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=100))
    # open in the paper: 32 clips a batch
    order: OrderConfig = field(default_factory=OrderConfig)
    # two views of a clip; open in the paper: CARL's augmentation
    input: InputConfig = field(
        default_factory=lambda: InputConfig(sampling=SamplingConfig(policy="gitdl"), augment=AugmentConfig.carl_ssl())
    )
    # eq. (9)
    loss: GitdlConfig = field(default_factory=GitdlConfig)
    # open in the paper: whether labelled clips are pre-trained on as well (videos only)
    with_labelled: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameStageConfig:
    """Alignability metric learning of f_A and f_S."""

    # paper, sec 4.2: 100 epochs on the labelled clips
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=100))
    # steps of one self-training round
    self_train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=300))
    # paper, sec 4.2: 96 clips, at least 2 of each sampled class
    order: OrderConfig = field(default_factory=lambda: OrderConfig(batch_size=96, sampler="balanced"))
    # eq. (2), (4), (5)
    loss: AlignabilityConfig = field(default_factory=AlignabilityConfig)
    # f_S, eq. (3)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    # paper, sec 4.2: only the temporal part is trained
    freeze_image: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionStageConfig:
    """Cross-entropy training of f_E."""

    # paper, sec 4.2: 100 epochs on the labelled clips
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=100))
    # steps of one self-training round, the same for every strategy
    self_train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=900))
    # open in the paper: 32 clips a batch
    order: OrderConfig = field(default_factory=OrderConfig)
    # open in the paper: class-balanced, half labelled and half pseudo-labelled
    self_order: OrderConfig = field(default_factory=lambda: OrderConfig(sampler="balanced"))
    # eq. (6)
    loss: CrossEntropyConfig = field(default_factory=CrossEntropyConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig:
    """Embedding and scoring of labelled and unlabelled clips."""

    # clips of one part file: the unit of work and of resuming
    chunk: int = 64
    # clips decoded and embedded at once; while they are, the next ones are decoded
    batch: int = 16
    # paper, sec 4.2: R, labelled clips of a class in the gallery
    gallery_per_class: int = 15
    # what embeddings are rounded to before they are aligned; distances of 16 bit err by up to .005 (AlignmentBank)
    gallery_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    # whether the encoders of the last round label the pool once more
    last_round: bool = True

    def __post_init__(self) -> None:
        """Refuse empty chunks, batches and galleries."""
        for name in ("chunk", "batch", "gallery_per_class"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """The test: f_E alone."""

    # paper, sec 4.2: clips of a video, evenly spread
    views: int = 10
    # paper, sec 4.2: spatial crops of a clip
    crops: Literal[1, 3] = 3
    # frames between two frames of a clip; null = as f_E was trained: the stride of action_input, or, where that is
    # uniform, one frame of each segment of the video, every view at another place of the segments
    stride: int | None = None
    # videos of one part of the work
    chunk: int = 16
    # videos decoded at once, each with all its views; while they are tested, the next ones are decoded
    batch: int = 4

    def __post_init__(self) -> None:
        """Refuse empty chunks, batches and tests."""
        for name in ("views", "chunk", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourcesConfig:
    """How much of the machine each job takes; changes speed, never a stage's identity."""

    # training workers of each encoder
    workers: int = 1
    # logical CPUs of a training worker
    cpus_per_worker: float = 1.0
    # auto: a GPU a worker where the cluster has them
    device: Literal["auto", "cpu", "gpu"] = "auto"
    # torch threads of a worker
    threads: int = 1
    # f_A and f_E of a round at the same time: auto = when the cluster has the room
    parallel_encoders: bool | Literal["auto"] = "auto"
    # Ray Data actors that embed or test
    embed_actors: int = 1
    # Ray Data actors that align
    score_actors: int = 1
    # shards written at the same time; 0 = in this process
    write_tasks: int = 2
    # restarts of a training group after a lost worker
    max_failures: int = 3
    # minutes without a finished part after which a Ray Data job is given up
    data_timeout_min: float = 120.0

    def __post_init__(self) -> None:
        """Refuse counts that leave no worker."""
        for name in ("workers", "threads", "embed_actors", "score_actors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything one run depends on."""

    # folder of the run below `out`
    name: str = "run"
    # where run folders are
    out: str = "runs"
    # label draws; paper: the mean over 3
    seeds: tuple[int, ...] = (0, 1, 2)
    # rows of the result table
    strategies: tuple[StrategyName, ...] = ("supervised", "confidence", "collaborative")
    # paper, sec 4.2: self-training rounds
    rounds: int = 10
    # bit-for-bit repeatable runs on the same device
    deterministic: bool = False
    data: DatasetConfig
    split: SplitConfig = field(default_factory=SplitConfig)
    shards: ShardConfig = field(default_factory=ShardConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    frame_encoder: FrameEncoderConfig = field(default_factory=FrameEncoderConfig)
    action_encoder: ActionEncoderConfig = field(default_factory=ActionEncoderConfig)
    frame_input: InputConfig = field(default_factory=InputConfig)
    action_input: InputConfig = field(default_factory=InputConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    frame_stage: FrameStageConfig = field(default_factory=FrameStageConfig)
    action_stage: ActionStageConfig = field(default_factory=ActionStageConfig)
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)

    def __post_init__(self) -> None:
        """Refuse what no single section can see."""
        if not self.name or Path(self.name).name != self.name:
            raise ValueError(f"name {self.name!r} must be a plain folder name; the folder above it is `out`")
        if self.rounds < 0 or not self.seeds or not self.strategies:
            raise ValueError(f"rounds {self.rounds} must not be negative, seeds and strategies not empty")
        for name in ("frame_stage", "action_stage"):
            if getattr(self, name).self_train.steps is None:
                raise ValueError(f"{name}.self_train: set steps, not epochs: every strategy gets the same number")
        self._check_workers()
        for strategy in self.strategies:
            if strategy != "supervised":
                self.labels(strategy)
        if self.pretrain.input.sampling.policy != "gitdl":
            raise ValueError(f"pretrain.input.sampling.policy {self.pretrain.input.sampling.policy!r} must be 'gitdl'")
        self._check_inputs()
        if self.pseudo_labels.strategy != PseudoLabelConfig().strategy:
            raise ValueError(
                f"pseudo_labels.strategy {self.pseudo_labels.strategy} does nothing in a run: name it in strategies"
            )

    def _check_inputs(self) -> None:
        """Refuse frames that no encoder looks at, and pictures that the weights were not trained on."""
        for name in ("frame_input", "action_input"):
            sampling: SamplingConfig = getattr(self, name).sampling
            if sampling.policy not in ("uniform", "dense") or sampling.views != 1:
                raise ValueError(
                    f"{name}.sampling: policy {sampling.policy} with {sampling.views} views; an encoder is trained on "
                    "one clip of a video: policy uniform or dense, views 1 (evaluate.views are those of the test)"
                )
        for name, inputs, init in (
            ("action_input", self.action_input, self.action_encoder.init),
            ("frame_input", self.frame_input, self.frame_encoder.init),
            ("pretrain.input", self.pretrain.input, self.frame_encoder.init),
        ):
            check_pictures(f"{name}.augment", inputs.augment, init)

    def _check_workers(self) -> None:
        orders = {
            "pretrain.order": self.pretrain.order,
            "frame_stage.order": self.frame_stage.order,
            "action_stage.order": self.action_stage.order,
            "action_stage.self_order": self.action_stage.self_order,
        }
        for name, order in orders.items():
            if order.batch_size % self.resources.workers:
                raise ValueError(
                    f"{name}.batch_size {order.batch_size} is no multiple of resources.workers {self.resources.workers}"
                )

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out) / self.name

    def reader(self, inputs: InputConfig, order: OrderConfig | None = None) -> ReaderConfig:
        """Put together what a clip reader needs to know."""
        return ReaderConfig(
            order=order or OrderConfig(),
            sampling=inputs.sampling,
            augment=inputs.augment,
            decode=self.reading.decode,
            threads=self.reading.threads,
            prefetch=self.reading.prefetch,
            max_bad_fraction=self.reading.max_bad_fraction,
            cache=self.reading.cache,
        )

    def test_input(self) -> InputConfig:
        """The views of a test video, sampled as f_E was trained: evenly spread clips times spatial crops."""
        sampling, cfg = self.action_input.sampling, self.evaluate
        augment = replace(self.action_input.augment, crops=cfg.crops)
        if sampling.policy == "uniform" and cfg.stride is None:
            return InputConfig(sampling=replace(sampling, views=cfg.views), augment=augment)
        stride = cfg.stride if cfg.stride is not None else sampling.stride
        return InputConfig(sampling=replace(sampling, policy="views", views=cfg.views, stride=stride), augment=augment)

    def labels(self, strategy: StrategyName) -> PseudoLabelConfig:
        """The labelling rule of one strategy."""
        if strategy == "supervised":
            raise ValueError("supervised uses no pseudo-labels")
        return replace(self.pseudo_labels, strategy=strategy)


IDENTITY = ("data", "split")
"""Sections that a run folder is made for: another value needs another folder."""

SILENT = {"threads", "prefetch", "log_every", "checkpoint_every"}
"""Keys that change no result: left out of every hash."""


def part(cfg: RunConfig, *sections: str) -> dict[str, Any]:
    """The part of the configuration (dotted names) a stage depends on, as plain values without the silent keys."""
    values: dict[str, Any] = {}
    for section in sections:
        value: Any = cfg
        for name in section.split("."):
            value = getattr(value, name)
        values[section] = _without(plain(value))
    return values


def _without(value: Value) -> Value:
    if isinstance(value, Mapping):
        return {key: _without(item) for key, item in value.items() if key not in SILENT}
    return value


def read_recipe(name: str, *, chain: tuple[Path, ...] = (), beside: Path | None = None) -> dict[str, Any]:
    """Read a recipe by name or path and lay it over its `base:`; a chain of bases may not come back to itself."""
    path = _find_recipe(name, beside)
    if path in chain:
        raise UserError(
            f"recipe {path}: its `base:` comes back to itself: {' -> '.join(p.stem for p in (*chain, path))}"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"recipe {path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"recipe {path}: a mapping of keys is needed, got {type(values).__name__}")
    base = values.pop("base", None)
    if base is None:
        return values
    return merge(read_recipe(str(base), chain=(*chain, path), beside=path.parent), values)


def _find_recipe(name: str, beside: Path | None) -> Path:
    known = {path.stem: path for path in RECIPES.glob("*.yaml")}
    if name in known:
        return known[name].resolve()
    for path in (Path(name), *([beside / name] if beside else [])):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path.resolve()
    raise UserError(f"recipe {name!r}: neither a recipe nor a YAML file; {nearest(name, list(known))}")


def parse_override(text: str) -> tuple[str, Any]:
    """Split `a.b=c`; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"override {text!r}: write it as section.key=value")
    try:
        return key, yaml.safe_load(value) if value else None
    except yaml.YAMLError as error:
        raise UserError(f"override {text!r}: the value is no YAML: {' '.join(str(error).split())}") from error


def load(recipe: str, overrides: Sequence[str] = (), extra: Mapping[str, Any] | None = None) -> RunConfig:
    """Make the configuration of a recipe with `extra` values and then the command line's overrides laid over it."""
    values = {"name": Path(recipe).stem, **read_recipe(recipe)}
    for key, value in (extra or {}).items():
        set_dotted(values, key, value)
    for text in overrides:
        set_dotted(values, *parse_override(text))
    return build(RunConfig, values)


def to_yaml(cfg: RunConfig) -> str:
    """Write the resolved configuration: every key with its value."""
    return yaml.safe_dump(plain(cfg), sort_keys=False, allow_unicode=True, width=120)


def from_yaml(path: Path) -> RunConfig:
    """Read back the configuration of a run folder."""
    return build(RunConfig, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
