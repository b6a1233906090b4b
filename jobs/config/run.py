"""The configuration of a run: the only place that knows the configs of all three packages.

Every key is checked, and each stage hashes the part of it that its results depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.methods.config import PseudoLabelConfig
from jobs.config.build import Value, plain
from jobs.config.expected_input import SEEN_BY, check_frames
from jobs.config.sections import (
    ActionStageConfig,
    EmbedConfig,
    EvaluateConfig,
    FrameStageConfig,
    InputConfig,
    PretrainConfig,
    ReadingConfig,
    ResourcesConfig,
    StrategyName,
)
from shards.annotations.config import DatasetConfig
from shards.read.config import OrderConfig, ReaderConfig, SamplingConfig
from shards.splits.config import SplitConfig
from shards.write.config import ShardConfig


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
        for encoder, sections in SEEN_BY.items():
            for section in sections:
                inputs = self.pretrain.input if section == "pretrain.input" else getattr(self, section)
                check_frames(section, inputs, getattr(self, encoder))

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
