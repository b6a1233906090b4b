"""The sections of a run's configuration."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from finepseudo.alignment.config import AlignabilityConfig, GitdlConfig, ScorerConfig
from finepseudo.training.config import CrossEntropyConfig, OptimConfig, TclrConfig
from jobs.config.training import TrainConfig
from shards.read.config import (
    ONLY,
    AugmentConfig,
    OrderConfig,
    SamplingConfig,
    ViewConfig,
)
from shards.settings import BadSetting, Settings, section, setting
from shards.storage.config import CacheConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class InputConfig(Settings):
    """What one encoder sees of a clip."""

    sampling: SamplingConfig = section(SamplingConfig, "which frames")
    augment: AugmentConfig = section(AugmentConfig, "crop, flip, colour, normalisation")

    def view(self, name: str = ONLY) -> ViewConfig:
        """Make it a view of a stream."""
        return ViewConfig(name=name, sampling=self.sampling, augment=self.augment)


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig(Settings):
    """GITDL pre-training of f_A on the videos alone."""

    train: TrainConfig = section(
        lambda: TrainConfig(epochs=100), "how long and how", source="paper, sec 4.2: 100 epochs"
    )
    order: OrderConfig = section(OrderConfig, "batches", source="open in the paper: 32 clips a batch")
    input: InputConfig = section(
        lambda: InputConfig(sampling=SamplingConfig(policy="gitdl"), augment=AugmentConfig.carl_ssl()),
        "two views of a clip",
        source="open in the paper; CARL's augmentation",
    )
    loss: GitdlConfig = section(GitdlConfig, "GITDL", source="paper, eq. (9)")
    with_labelled: bool = setting(
        True, "whether labelled clips are pre-trained on as well (videos only)", source="open in the paper"
    )
    shared: bool = setting(
        True,
        "whether all label draws start from one pre-training, which sees no label; false: from one each",
        source="this project: on the same videos it is 70 % of the work of a draw",
    )
    skip: bool | None = setting(
        None,
        "whether metric learning starts from frame_encoder.weights as they are; null = where these are a whole f_A "
        "(run:PATH, carl:FILE); true otherwise is row f of Table 5",
        source="paper, Table 5",
    )

    def check(self) -> None:
        """Refuse to share what differs between label draws."""
        if self.shared and not self.with_labelled:
            rule = "leaves out other clips in every label draw; set pretrain.shared=false"
            raise BadSetting("with_labelled", self.with_labelled, rule)

    def owner(self, seed: int) -> int | None:
        """Give the label draw in whose folder that of `seed` finds its pre-training, None for the shared one."""
        return None if self.shared else seed


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastLookConfig(Settings):
    """How each clip of TCLR is changed; all else, such as size, flip and channels, is as in action_input."""

    scale: tuple[float, float] = setting(
        (0.27, 0.75),
        "range of the crop's share of the image area",
        source="TCLR: a square of .6-1 of the height of 240 x 320 pixels",
        above=0,
        at_most=1,
    )
    jitter: float = setting(0.3, "probability of the colour jitter", source="TCLR: .3 each", at_least=0, at_most=1)
    brightness: float = setting(0.25, "brightness factor in 1 +- this", source="TCLR: .25", at_least=0, at_most=1)
    contrast: float = setting(0.25, "contrast factor in 1 +- this", source="TCLR: .25", at_least=0, at_most=1)
    saturation: float = setting(0.25, "saturation factor in 1 +- this", source="TCLR: .25", at_least=0, at_most=1)
    hue: float = setting(0.1, "hue turn in +- this, in turns", source="TCLR: .1", at_least=0, at_most=0.5)
    gray: float = setting(
        0.3, "probability of a grey image", source="TCLR: .175, and .125 without a channel", at_least=0, at_most=1
    )
    blur: float = setting(0.0, "probability of a Gaussian blur", source="TCLR: none", at_least=0, at_most=1)
    erase: float = setting(0.5, "probability of one erased rectangle", source="TCLR: .5", at_least=0, at_most=1)
    erase_area: tuple[float, float] = setting(
        (0.006, 0.026), "range of the erased share of the image", source="TCLR: 9-18 of 112 pixels", above=0, at_most=1
    )


def _by_tclr() -> TrainConfig:
    return TrainConfig(epochs=100, optim=OptimConfig(lr=1e-3, weight_decay=1e-9))


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionPretrainConfig(Settings):
    """TCLR pre-training of f_E on the videos alone, where `action_encoder.weights` is tclr."""

    train: TrainConfig = section(
        _by_tclr, "how long and how", source="TCLR: Adam, 1e-3; open in the paper: 100 epochs, as f_A"
    )
    order: OrderConfig = section(lambda: OrderConfig(batch_size=40), "batches", source="TCLR: 40 videos a batch")
    stride: int | None = setting(
        None,
        "frames between two frames of a local clip; the global one takes every fourth frame of four local ones in a "
        "row; null = the stride of action_input",
        source="TCLR: 1",
        at_least=1,
    )
    look: ContrastLookConfig = section(ContrastLookConfig, "how a clip is changed", source="TCLR")
    loss: TclrConfig = section(TclrConfig, "TCLR", source="TCLR")

    def input(self, seen: InputConfig) -> InputConfig:
        """Make the ten clips of a video from what f_E sees of one."""
        stride = seen.sampling.stride if self.stride is None else self.stride
        look = {field.name: getattr(self.look, field.name) for field in fields(self.look)}
        return InputConfig(
            sampling=replace(seen.sampling, policy="tclr", stride=stride), augment=replace(seen.augment, **look)
        )


def _a_round() -> TrainConfig:
    return TrainConfig(epochs=5, optim=OptimConfig(warmup_epochs=0.5))


@dataclass(frozen=True, kw_only=True, slots=True)
class FeaturesConfig(Settings):
    """Frame features of f_A's image encoder, kept on disk while that is frozen: each clip is decoded once a view."""

    views: int = setting(
        4,
        "augmented views of a clip that metric learning chooses from, kept beside the one for embedding; 0 = keep "
        "nothing, and draw again each time",
        source="this project: 30 passes over each frame without",
        at_least=0,
    )
    cache: CacheConfig = section(CacheConfig, "where they are kept; an empty folder = `features` in the run folder")


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameStageConfig(Settings):
    """Alignability metric learning of f_A and f_S."""

    train: TrainConfig = section(
        lambda: TrainConfig(epochs=100), "on the labelled clips", source="paper, sec 4.2: 100 epochs"
    )
    self_train: TrainConfig = section(_a_round, "one self-training round", source="paper, sec 4.2: 5 epochs")
    order: OrderConfig = section(
        lambda: OrderConfig(batch_size=96, sampler="balanced"),
        "batches",
        source="paper, sec 4.2: 96 clips, at least 2 of each sampled class",
    )
    loss: AlignabilityConfig = section(AlignabilityConfig, "L_AV", source="paper, eq. (2), (4), (5)")
    scorer: ScorerConfig = section(ScorerConfig, "f_S", source="paper, eq. (3)")
    freeze_image: bool = setting(
        True, "whether only the temporal part of f_A is trained", source="paper, sec 4.2: it is"
    )
    features: FeaturesConfig = section(FeaturesConfig, "kept frame features, where the image encoder is frozen")
    validate_every: int | None = setting(
        None,
        "steps between two looks at the held-out labelled clips (split.held_out): a curve of how well their "
        "pairs with labelled clips are told, by average precision; null = none",
        source="this project",
        at_least=1,
    )
    skip: bool = setting(
        False,
        "whether f_A stays as pre-training left it: no metric learning in any round, and S is exp(-D/T)",
        source="paper, Table 5 c",
    )

    @property
    def learns_score(self) -> bool:
        """Whether f_S is learned."""
        return self.loss.omega > 0 and not self.skip

    @property
    def kept_views(self) -> int:
        """Count the augmented views whose frame features are kept."""
        return self.features.views if self.freeze_image else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionStageConfig(Settings):
    """Cross-entropy training of f_E."""

    train: TrainConfig = section(
        lambda: TrainConfig(epochs=100), "on the labelled clips", source="paper, sec 4.2: 100 epochs"
    )
    self_train: TrainConfig = section(
        _a_round,
        "one self-training round; a method without rounds gets the steps of all of them",
        source="paper, sec 4.2: 5 epochs",
    )
    order: OrderConfig = section(OrderConfig, "batches of labelled clips", source="open in the paper: 32 clips a batch")
    self_order: OrderConfig = section(
        OrderConfig,
        "batches of a self-training round",
        source="open in the paper: every labelled and accepted clip once an epoch",
    )
    assumed_acceptance: float = setting(
        0.34,
        "share of the pool that counts into an epoch of self-training where no method of the run labels the pool",
        source="paper, Table 6: 4,558 of 13,503",
        at_least=0,
        at_most=1,
    )
    loss: CrossEntropyConfig = section(CrossEntropyConfig, "cross-entropy", source="paper, eq. (6)")
    keep: Literal["last", "best"] = setting(
        "last",
        "weights of f_E that a training by cross-entropy leaves: the last ones, or the best on held-out labelled clips "
        "(split.held_out)",
        source="paper: the last",
    )
    validate_every: int | None = setting(
        None,
        "steps between two looks at the held-out labelled clips (split.held_out): a curve of accuracy and loss in "
        "the log, the trackers and the report; null = none, keep_every with keep best",
        source="this project",
        at_least=1,
    )
    keep_every: int = setting(50, "keep best: steps between two looks at the held-out clips", at_least=1)

    @property
    def look_every(self) -> int:
        """Steps between two looks at the held-out clips; 0 = there is none."""
        return self.validate_every or (self.keep_every if self.keep == "best" else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig(Settings):
    """Embedding and scoring of labelled and unlabelled clips."""

    chunk: int = setting(64, "clips of one part file: the unit of work and of resuming", at_least=1)
    batch: int = setting(
        16, "clips decoded and embedded at once; while they are, the next ones are decoded", at_least=1
    )
    gallery_per_class: int = setting(
        15, "R, labelled clips of a class in the gallery", source="paper, sec 4.2", at_least=1
    )
    gallery_dtype: Literal["float32", "float16", "bfloat16"] = setting(
        "float32", "what embeddings are rounded to before they are aligned; distances of 16 bit err by up to .005"
    )
    keep_rounds: int | None = setting(
        None,
        "rounds of each method whose embeddings and scores are kept, the newest ones; older parts are removed once "
        "their round is labelled, and made again if a changed key asks for them; null = all",
        at_least=1,
    )
    keep_classes: int | None = setting(
        10,
        "classes of each clip whose probabilities pseudo_labels.parquet keeps, the likeliest ones; null = all, half a "
        "gigabyte a round for 216,000 clips of 400 classes",
        source="this project: `review` shows 9; trainings, metrics and the report read none of them",
        at_least=2,
    )
    last_round: bool = setting(True, "whether the encoders of the last round label the pool once more")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(Settings):
    """The test: f_E alone, as in the papers, and beside it what f_A says."""

    views: int = setting(
        10,
        "clips of a video, evenly spread over it; those of a short one that show the same are seen once",
        source="paper, sec 4.2",
        at_least=1,
    )
    crops: Literal[1, 3] = setting(3, "spatial crops of a clip", source="paper, sec 4.2")
    stride: int | None = setting(
        None,
        "frames between two frames of a clip; null = as f_E was trained: the stride of action_input, or, where that is "
        "uniform, one frame of each segment of the video, every view at another place of the segments (no clips spread "
        "over the video as in the paper: for them action_input has to be dense)",
        at_least=1,
    )
    votes: Literal["action", "frame", "mean", "all"] = setting(
        "all",
        "which answers are tested beside that of f_E (action), and which one `predict` gives: f_A by its last gallery "
        "(frame), the mean of both, or all, of which the best on held-out labelled clips (split.held_out) is given",
        source="f_E: paper, sec 4.2; f_A alone: Tables 5 and 11",
    )
    chunk: int = setting(16, "videos of one part file", at_least=1)
    batch: int = setting(
        4,
        "videos decoded at once, each with all its views; while they are tested, the next ones are decoded",
        at_least=1,
    )


HowMany = int | Literal["auto"]
"""auto: what the cluster has, counted when a job begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourcesConfig(Settings):
    """How much of the machine each job takes; changes speed, never a stage's identity."""

    workers: HowMany = setting(
        1,
        "training workers of each encoder; auto = a GPU of the cluster each, as many as divide every batch and find "
        "their CPUs; one without GPUs, and one a trial in a sweep",
        at_least=1,
    )
    cpus_per_worker: float = setting(1.0, "logical CPUs of a training worker", above=0)
    device: Literal["auto", "cpu", "gpu"] = setting("auto", "auto: a GPU a worker where the cluster has them")
    threads: int = setting(1, "torch threads of a worker", at_least=1)
    parallel_encoders: bool | Literal["auto"] = setting(
        "auto", "f_A and f_E of a round at the same time; auto = when the cluster has the room"
    )
    embed_actors: HowMany = setting(
        1, "Ray Data actors that embed or test; auto = one a GPU, one without GPUs", at_least=1
    )
    score_actors: HowMany = setting(1, "Ray Data actors that align; auto = one a GPU, one without GPUs", at_least=1)
    write_tasks: int = setting(2, "shards written at the same time; 0 = in this process", at_least=0)
    max_failures: int = setting(3, "restarts of a training group after a lost worker", at_least=0)
    data_timeout_min: float = setting(
        120.0, "minutes without a finished part after which a Ray Data job is given up", above=0
    )

    def check(self) -> None:
        """Refuse two encoders side by side that would each take the whole cluster."""
        if self.parallel_encoders is True and self.workers == "auto":
            rule = "needs a number of workers for each of them; set resources.workers, or auto here"
            raise BadSetting("parallel_encoders", True, rule)
