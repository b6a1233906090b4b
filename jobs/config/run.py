"""The configuration of a run: the only place that knows the configs of all three packages.

Every key is checked, and each stage hashes the part of it that its results depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.methods.config import PseudoLabelConfig
from jobs.config.build import Value, plain
from jobs.config.expected_input import check_images
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
from jobs.config.training import TrainConfig
from shards.annotations.config import DatasetConfig
from shards.read.config import OrderConfig, ReaderConfig, SamplingConfig
from shards.settings import BadSetting, Settings, needed, section, setting
from shards.splits.config import SplitConfig
from shards.write.config import ShardConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(Settings):
    """Everything one run depends on."""

    name: str = setting("run", "folder of the run below `out`")
    out: str = setting("runs", "where run folders are")
    seeds: tuple[int, ...] = setting((0, 1, 2), "label draws", source="paper: the mean over 3", at_least=0)
    strategies: tuple[StrategyName, ...] = setting(
        ("supervised", "confidence", "collaborative"), "rows of the result table", source="paper, Table 6"
    )
    rounds: int = setting(10, "self-training rounds", source="paper, sec 4.2", at_least=0)
    deterministic: bool = setting(False, "bit-for-bit repeatable runs on the same device")
    data: DatasetConfig = needed("the data set")
    split: SplitConfig = section(SplitConfig, "which clips have a label")
    shards: ShardConfig = section(ShardConfig, "how clips are stored")
    reading: ReadingConfig = section(ReadingConfig, "how clips are decoded; the same for every stage")
    frame_encoder: FrameEncoderConfig = section(FrameEncoderConfig, "f_A, the alignability encoder")
    action_encoder: ActionEncoderConfig = section(ActionEncoderConfig, "f_E, the action encoder")
    frame_input: InputConfig = section(InputConfig, "what f_A sees of a clip in metric learning and when embedding")
    action_input: InputConfig = section(InputConfig, "what f_E sees of a clip")
    pretrain: PretrainConfig = section(PretrainConfig, "GITDL pre-training of f_A")
    frame_stage: FrameStageConfig = section(FrameStageConfig, "alignability metric learning of f_A and f_S")
    action_stage: ActionStageConfig = section(ActionStageConfig, "cross-entropy training of f_E")
    embed: EmbedConfig = section(EmbedConfig, "embedding and scoring")
    pseudo_labels: PseudoLabelConfig = section(PseudoLabelConfig, "from scores to pseudo-labels")
    evaluate: EvaluateConfig = section(EvaluateConfig, "the test of f_E")
    resources: ResourcesConfig = section(ResourcesConfig, "how much of the machine each job takes")

    def check(self) -> None:
        """Refuse what no single section can see."""
        if not self.name or Path(self.name).name != self.name:
            raise BadSetting("name", self.name, "must be a plain folder name; the folder above it is `out`")
        for key in ("seeds", "strategies"):
            values = getattr(self, key)
            if not values or len(set(values)) < len(values):
                raise BadSetting(key, values, "must be one or more different ones; name each of them once")
        for stage in ("frame_stage", "action_stage"):
            train: TrainConfig = getattr(self, stage).self_train
            if train.steps is None:
                rule = "needs steps: every strategy gets the same number; set self_train.steps, epochs to null"
                raise BadSetting(f"{stage}.self_train.epochs", train.epochs, rule)
        self._check_workers()
        for strategy in self.strategies:
            if strategy != "supervised":
                self.labels(strategy)
        if self.pseudo_labels.strategy != PseudoLabelConfig().strategy:
            rule = "does nothing in a run; name it in strategies"
            raise BadSetting("pseudo_labels.strategy", self.pseudo_labels.strategy, rule)
        self._check_inputs()

    def _check_inputs(self) -> None:
        """Refuse frames that no encoder looks at, and images that the weights were not trained on."""
        policy = self.pretrain.input.sampling.policy
        if policy != "gitdl":
            raise BadSetting("pretrain.input.sampling.policy", policy, "must be gitdl; the loss compares its two views")
        for name in ("frame_input", "action_input"):
            sampling: SamplingConfig = getattr(self, name).sampling
            one = "an encoder is trained on one clip of a video"
            if sampling.policy not in ("uniform", "dense"):
                raise BadSetting(f"{name}.sampling.policy", sampling.policy, f"{one}; set uniform or dense")
            if sampling.views != 1:
                rule = f"{one}; set 1 (evaluate.views are those of the test)"
                raise BadSetting(f"{name}.sampling.views", sampling.views, rule)
        for name, inputs, init in (
            ("action_input", self.action_input, self.action_encoder.init),
            ("frame_input", self.frame_input, self.frame_encoder.init),
            ("pretrain.input", self.pretrain.input, self.frame_encoder.init),
        ):
            check_images(f"{name}.augment", inputs.augment, init)

    def _check_workers(self) -> None:
        orders = {
            "pretrain.order": self.pretrain.order,
            "frame_stage.order": self.frame_stage.order,
            "action_stage.order": self.action_stage.order,
            "action_stage.self_order": self.action_stage.self_order,
        }
        workers = self.resources.workers
        for name, order in orders.items():
            if order.batch_size % workers:
                rule = f"must be a multiple of resources.workers, {workers}; change one of them"
                raise BadSetting(f"{name}.batch_size", order.batch_size, rule)

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
    for dotted in sections:
        value: Any = cfg
        for name in dotted.split("."):
            value = getattr(value, name)
        values[dotted] = _without(plain(value))
    return values


def _without(value: Value) -> Value:
    if isinstance(value, Mapping):
        return {key: _without(item) for key, item in value.items() if key not in SILENT}
    return value
