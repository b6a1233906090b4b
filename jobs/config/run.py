"""The configuration of a run: the only place that knows the configs of all three packages.

Every key is checked, and each stage hashes the part of it that its results depend on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finepseudo.encoders.action_encoder import ActionEncoderConfig
from finepseudo.encoders.frame_encoder import FrameEncoderConfig
from finepseudo.methods.base import LABELLED, AnyMethod, Stream, TrainAction, flat
from finepseudo.methods.table import METHODS, MethodsConfig, settings
from jobs.config.build import Value, nearest, plain
from jobs.config.expected_input import check_pictures
from jobs.config.sections import (
    ActionStageConfig,
    EmbedConfig,
    EvaluateConfig,
    FrameStageConfig,
    PretrainConfig,
    ReadingConfig,
    ResourcesConfig,
)
from shards.annotations.config import DatasetConfig
from shards.read.order import OrderConfig
from shards.read.reader import ReaderConfig
from shards.read.sampling import SamplingConfig
from shards.read.views import ViewConfig
from shards.splits.label_split import SplitConfig
from shards.write.plans import ShardConfig


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
    methods: tuple[str, ...] = ("supervised", "pseudo_label", "finepseudo")
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
    frame_input: ViewConfig = field(default_factory=ViewConfig)
    action_input: ViewConfig = field(default_factory=ViewConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    frame_stage: FrameStageConfig = field(default_factory=FrameStageConfig)
    action_stage: ActionStageConfig = field(default_factory=ActionStageConfig)
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    # keys of each method
    method: MethodsConfig = field(default_factory=MethodsConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)

    def __post_init__(self) -> None:
        """Refuse what no single section can see."""
        if not self.name or Path(self.name).name != self.name:
            raise ValueError(f"name {self.name!r} must be a plain folder name; the folder above it is `out`")
        if self.rounds < 0 or not self.seeds or not self.methods:
            raise ValueError(f"rounds {self.rounds} must not be negative, seeds and methods not empty")
        for name in self.methods:
            if name not in METHODS:
                raise ValueError(f"methods: no method is called {name!r}; {nearest(name, list(METHODS))}")
        for name in ("frame_stage", "action_stage"):
            if getattr(self, name).self_train.steps is None:
                raise ValueError(f"{name}.self_train: set steps, not epochs: every method gets the same number")
        self._check_workers()
        if self.pretrain.input.sampling.policy != "gitdl":
            raise ValueError(f"pretrain.input.sampling.policy {self.pretrain.input.sampling.policy!r} must be 'gitdl'")
        self._check_inputs()

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
        for method in (METHODS[name] for name in self.methods):
            for request in flat(method.plan(settings(self.method, method.name), self.rounds, self.embed.last_round)):
                if isinstance(request, TrainAction):
                    self.streams_of(method, request)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out) / self.name

    def streams_of(self, method: AnyMethod | None, request: TrainAction) -> list[tuple[Stream, ReaderConfig]]:
        """The streams that a training of f_E reads, each with what its reader needs; the first one leads.

        Labelled clips come in the stage's order, `share` of its batch; other streams go through their clips shuffled.
        """
        streams: tuple[Stream, ...] = (Stream(name=LABELLED, role="labelled", views=(self.action_input,)),)
        if method is not None:
            streams = method.trained_streams(settings(self.method, method.name), request, self.action_input)
        order = self.action_stage.self_order if request.number else self.action_stage.order
        return [(stream, self._stream_reader(stream, order)) for stream in streams]

    def _stream_reader(self, stream: Stream, order: OrderConfig) -> ReaderConfig:
        size = round(stream.share * order.batch_size)
        if stream.role != "labelled":
            order = OrderConfig(batch_size=max(size, 1), shard_window=order.shard_window)
        elif stream.share != 1:
            order = replace(order, batch_size=size)
        if order.batch_size % self.resources.workers:
            raise ValueError(
                f"stream {stream.name}: {stream.share:g} x the labelled batch are {order.batch_size} clips, no "
                f"multiple of resources.workers {self.resources.workers}; change the share or action_stage.self_order"
            )
        if len(stream.views) != 1:
            raise ValueError(f"stream {stream.name}: {len(stream.views)} views of a clip; a reader makes one")
        return self.reader(stream.views[0], order)

    def reader(self, inputs: ViewConfig, order: OrderConfig | None = None) -> ReaderConfig:
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

    def test_input(self) -> ViewConfig:
        """The views of a test video, sampled as f_E was trained: evenly spread clips times spatial crops."""
        sampling, cfg = self.action_input.sampling, self.evaluate
        augment = replace(self.action_input.augment, crops=cfg.crops)
        if sampling.policy == "uniform" and cfg.stride is None:
            return ViewConfig(sampling=replace(sampling, views=cfg.views), augment=augment)
        stride = cfg.stride if cfg.stride is not None else sampling.stride
        return ViewConfig(sampling=replace(sampling, policy="views", views=cfg.views, stride=stride), augment=augment)


IDENTITY = ("data", "split", "shards")
"""Sections that a run folder is made for: another value needs another folder."""

SILENT = {"threads", "prefetch", "log_every", "checkpoint_every"}
"""Keys that change no result: left out of every hash."""


def flat_part(cfg: RunConfig, read: Iterable[str], without: Iterable[str] = ()) -> dict[str, Any]:
    """Give what a stage reads of the configuration: dotted key -> plain value, without the silent keys.

    read: keys or whole sections; without: keys or sections in them that it does not read.
    """
    left_out = tuple(without)
    found: dict[str, Any] = {}
    for name in read:
        value: Any = cfg
        for step in name.split("."):
            value = getattr(value, step)
        found |= {key: leaf for key, leaf in leaves(plain(value), name) if not _below(key, left_out)}
    return found


def leaves(value: Value, prefix: str) -> Iterator[tuple[str, Any]]:
    """Walk through nested mappings: dotted key, value; silent keys are passed over."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in SILENT:
                yield from leaves(item, f"{prefix}.{key}")
    else:
        yield prefix, value


def _below(key: str, sections: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in sections)
