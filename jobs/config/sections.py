"""The sections of a run's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from finepseudo.alignment.gitdl import GitdlConfig
from finepseudo.alignment.scorer import AlignabilityConfig, ScorerConfig
from finepseudo.training.objectives import CrossEntropyConfig
from jobs.config.training import TrainConfig
from shards.read.augment import AugmentConfig
from shards.read.order import OrderConfig
from shards.read.sampling import SamplingConfig
from shards.read.views import ViewConfig
from shards.storage.cache import CacheConfig
from shards.types import ONLY

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

    def view(self, name: str = ONLY) -> ViewConfig:
        """Make it a view of a stream."""
        return ViewConfig(name=name, sampling=self.sampling, augment=self.augment)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingConfig:
    """How clips are decoded; the same for every stage."""

    # chosen by what the machine has: dali-gpu, else pyav
    decode: Literal["auto", "dali-gpu", "dali-cpu", "pyav"] = "auto"
    # decoding threads of a worker
    threads: int = 1
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
