"""The configuration of a run: the only place that knows the configs of all three packages.

Every key is checked, and each stage hashes the part of it that its results depend on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.methods.base import LABELLED, AnyMethod, Stream, TrainAction, flat
from finepseudo.methods.table import METHODS, MethodsConfig, settings
from jobs.config.build import Value, one_of, plain
from jobs.config.expected_input import SEEN_BY, check_frames
from jobs.config.sections import (
    ActionPretrainConfig,
    ActionStageConfig,
    EmbedConfig,
    EvaluateConfig,
    FrameStageConfig,
    InputConfig,
    PretrainConfig,
    ResourcesConfig,
)
from shards.annotations.config import DatasetConfig
from shards.read.config import BOTH, OrderConfig, ReaderConfig, ReadingConfig, SamplingConfig, ViewConfig
from shards.settings import BadSetting, Settings, needed, section, setting
from shards.splits.config import SplitConfig
from shards.write.config import ShardConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(Settings):
    """Everything one run depends on."""

    name: str = setting("run", "folder of the run below `out`")
    out: str = setting("runs", "where run folders are")
    seeds: tuple[int, ...] = setting((0, 1, 2), "label draws", source="paper: the mean over 3", at_least=0)
    methods: tuple[str, ...] = setting(
        ("supervised", "pseudo_label", "finepseudo"),
        "rows of the result table; `finepseudo methods` lists them; module:NAME: one of your own",
    )
    own_methods: tuple[str, ...] = setting(
        (), "methods of your own, module:NAME of each, as `methods` may name them too; there they go by their name"
    )
    rounds: int = setting(10, "self-training rounds", source="paper, sec 4.2", at_least=0, at_most=1000)
    tracker: Literal["", "wandb", "mlflow"] = setting(
        "",
        "where the curves go beside TensorBoard; both write into the run folder unless their own environment says else",
    )
    deterministic: bool = setting(
        False,
        "bit-for-bit repeatable runs on the same device; costs compile and, on a GPU, the video engine, channels last "
        "and cuDNN's choice by timing: without channels last alone a step of f_E takes 1.6 times as long on an H100",
    )
    data: DatasetConfig = needed("the data set")
    split: SplitConfig = section(SplitConfig, "which clips have a label")
    shards: ShardConfig = section(ShardConfig, "how clips are stored")
    reading: ReadingConfig = section(ReadingConfig, "how clips are decoded; the same for every stage")
    frame_encoder: FrameEncoderConfig = section(FrameEncoderConfig, "f_A, the alignability encoder")
    action_encoder: ActionEncoderConfig = section(ActionEncoderConfig, "f_E, the action encoder")
    frame_input: InputConfig = section(InputConfig, "what f_A sees of a clip in metric learning and when embedding")
    action_input: InputConfig = section(InputConfig, "what f_E sees of a clip")
    pretrain: PretrainConfig = section(PretrainConfig, "GITDL pre-training of f_A")
    action_pretrain: ActionPretrainConfig = section(ActionPretrainConfig, "TCLR pre-training of f_E")
    frame_stage: FrameStageConfig = section(FrameStageConfig, "alignability metric learning of f_A and f_S")
    action_stage: ActionStageConfig = section(ActionStageConfig, "cross-entropy training of f_E")
    embed: EmbedConfig = section(EmbedConfig, "embedding and scoring")
    method: MethodsConfig = section(MethodsConfig, "keys of each method")
    evaluate: EvaluateConfig = section(EvaluateConfig, "the test of f_E")
    resources: ResourcesConfig = section(ResourcesConfig, "how much of the machine each job takes")

    def check(self) -> None:
        """Refuse what no single section can see."""
        if self.name in ("", "..") or not self.name.isprintable() or Path(self.name).name != self.name:
            raise BadSetting("name", self.name, "must be a plain folder name; the folder above it is `out`")
        for key in ("seeds", "methods"):
            values = getattr(self, key)
            if not values or len(set(values)) < len(values):
                raise BadSetting(key, values, "must be one or more different ones; name each of them once")
        for name in self.methods:
            if name not in METHODS:
                raise BadSetting("methods", self.methods, f"no method is called {name}; {one_of(name, list(METHODS))}")
        at_random = self.frame_encoder.start.published is None and not self.frame_encoder.without_weights
        if self.frame_stage.freeze_image and not self.pretrains and at_random:
            rule = (
                "leaves f_A's image encoder at random for good; set frame_stage.freeze_image=false, or give it weights"
            )
            raise BadSetting("pretrain.skip", self.pretrain.skip, rule)
        if self.deterministic and self.reading.decode == BOTH:
            rule = "gives clips to whom has time, so bits do not repeat; set it to auto, or deterministic=false"
            raise BadSetting("reading.decode", BOTH, rule)
        self._check_held_out()
        self._check_contrast()
        self._check_methods()
        self._check_workers()
        self._check_streams()
        self._check_inputs()

    def _check_held_out(self) -> None:
        """Refuse what only held-out labelled clips can choose."""
        if self.action_stage.keep == "best" and not self.split.held_out:
            rule = "needs held-out labelled clips; set split.held_out, for example to 0.2"
            raise BadSetting("action_stage.keep", "best", rule)
        for name in ("frame_stage", "action_stage"):
            every = getattr(self, name).validate_every
            if every and not self.split.held_out:
                rule = "needs held-out labelled clips; set split.held_out, for example to 0.2"
                raise BadSetting(f"{name}.validate_every", every, rule)
        for name in self.methods:
            bar = getattr(settings(self.method, name), "bar", "fixed")
            if bar == "calibrated" and not self.split.held_out:
                rule = "needs held-out labelled clips; set split.held_out, for example to 0.2"
                raise BadSetting(f"method.{name}.bar", bar, rule)

    def _check_contrast(self) -> None:
        """Refuse global-local contrast of an encoder that shows no features over time."""
        weight = self.action_pretrain.loss.global_local
        if self.action_encoder.pretrains and weight and (problem := self.action_encoder.unwatched):
            raise BadSetting("action_pretrain.loss.global_local", weight, f"{problem}; set it to 0")

    def _check_methods(self) -> None:
        """Refuse a method that does not fit the encoder."""
        for method in (METHODS[name] for name in self.methods):
            if method.fits is not None:
                try:
                    method.fits(settings(self.method, method.name), self.action_encoder)
                except BadSetting as error:
                    raise BadSetting(f"method.{method.name}.{error.key}", error.value, error.rule) from error

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
        for encoder, seen in SEEN_BY.items():
            for name in seen:
                inputs = self.pretrain.input if name == "pretrain.input" else getattr(self, name)
                check_frames(name, inputs, getattr(self, encoder))

    def _check_workers(self) -> None:
        """Refuse batches that the workers cannot share equally."""
        workers = self.resources.workers
        for name, size in self.batches.items():
            if workers != "auto" and size % workers:
                rule = f"must be a multiple of resources.workers, {workers}; change one of them"
                raise BadSetting(name, size, rule)

    def _check_streams(self) -> None:
        """Let readers refuse streams that the methods of the run cannot have."""
        for method in (METHODS[name] for name in self.methods):
            for request in flat(method.plan(settings(self.method, method.name), self.rounds, self.embed.last_round)):
                if isinstance(request, TrainAction):
                    self.streams_of(method, request)

    @property
    def batches(self) -> dict[str, int]:
        """Clips of a step of each training, by key; all its workers share them."""
        orders = {
            "pretrain.order": self.pretrain.order,
            "frame_stage.order": self.frame_stage.order,
            "action_stage.order": self.action_stage.order,
            "action_stage.self_order": self.action_stage.self_order,
        }
        if self.action_encoder.pretrains:
            orders["action_pretrain.order"] = self.action_pretrain.order
        return {f"{name}.batch_size": order.batch_size for name, order in orders.items()}

    @property
    def pretrains(self) -> bool:
        """Whether f_A is pre-trained, not taken as its weights are."""
        start, skip = self.frame_encoder.start, self.pretrain.skip
        return not (start.published is not None and start.published.whole) if skip is None else not skip

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out) / self.name

    def streams_of(self, method: AnyMethod | None, request: TrainAction) -> list[tuple[Stream, ReaderConfig]]:
        """The streams that a training of f_E reads, each with what its reader needs; the first one leads.

        Labelled clips come in the stage's order, `share` of its batch; other streams go through their clips shuffled.
        """
        streams: tuple[Stream, ...] = (Stream(name=LABELLED, role="labelled", views=(self.action_input.view(),)),)
        if method is not None:
            streams = method.trained_streams(settings(self.method, method.name), request, self.action_input.view())
        order = self.action_stage.order if request.begins else self.action_stage.self_order
        return [(stream, self._stream_reader(stream, order)) for stream in streams]

    def _stream_reader(self, stream: Stream, order: OrderConfig) -> ReaderConfig:
        size = round(stream.share * order.batch_size)
        if stream.role != "labelled":
            order = OrderConfig(batch_size=max(size, 1), shard_window=order.shard_window)
        elif stream.share != 1:
            order = replace(order, batch_size=size)
        return self.reader(*stream.views, order=order)

    def reader(self, *views: ViewConfig, order: OrderConfig | None = None) -> ReaderConfig:
        """Put together what a clip reader needs to know."""
        return self.reading.reader(order or OrderConfig(), views, repeatable=self.deterministic)

    def test_input(self) -> InputConfig:
        """The views of a test video, sampled as f_E was trained: evenly spread clips times spatial crops."""
        sampling, cfg = self.action_input.sampling, self.evaluate
        augment = replace(self.action_input.augment, crops=cfg.crops)
        if sampling.policy == "uniform" and cfg.stride is None:
            return InputConfig(sampling=replace(sampling, views=cfg.views), augment=augment)
        stride = cfg.stride if cfg.stride is not None else sampling.stride
        return InputConfig(sampling=replace(sampling, policy="views", views=cfg.views, stride=stride), augment=augment)


IDENTITY = ("data", "split", "shards")
"""Sections that a run folder is made for: another value needs another folder."""
GROWS = ("split.reviewed",)
"""Keys of them that a run may go on with: more of its clips have a label then."""

SILENT = {"threads", "prefetch", "cache", "max_bad_fraction", "log_every", "checkpoint_every", "keep_rounds"}
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
