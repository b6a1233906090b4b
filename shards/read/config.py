"""Settings of reading: order of the clips, frames of a clip, augmentation, decoding."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from shards.settings import BadSetting, Settings, section, setting
from shards.storage.config import CacheConfig

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

MIN_COMMON = 4
"""Frames that the global and the local clip of `gitdl` share at least, where the clip has as many as 2 T - 1."""

LOCAL_CLIPS = 4
"""Local clips that the global clip of `tclr` spans."""

ONLY = "only"
"""Name of the view of a stream that has a single one."""

BOTH = "dali+pyav"
"""Decoder of a reader whose clips DALI and PyAV decode at the same time."""

Decode = Literal["auto", "dali-gpu", "dali-cpu", "pyav", "dali+pyav"]
Threads = int | Literal["auto"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig(Settings):
    """What happens to a view between decoding and the encoder. The field defaults leave training views unjittered."""

    size: int = setting(
        224, "side of the square output in pixels", source="open in the paper: 224 for f_A, 112 for f_E", at_least=1
    )
    scale: tuple[float, float] = setting(
        (0.8, 1.0), "range of the crop's share of the image area", source="CARL", above=0, at_most=1
    )
    ratio: tuple[float, float] = setting((3 / 4, 4 / 3), "range of the crop's width / height", source="CARL", above=0)
    flip: float = setting(
        0.5,
        "probability of a left-right flip; set 0 where left and right make classes",
        source="CARL: .5",
        at_least=0,
        at_most=1,
    )
    jitter: float = setting(0.0, "probability of the colour jitter", source="CARL: .8", at_least=0, at_most=1)
    brightness: float = setting(
        0.8, "colour jitter: brightness factor in 1 +- this", source="CARL: .8", at_least=0, at_most=1
    )
    contrast: float = setting(
        0.8, "colour jitter: contrast factor in 1 +- this, around mid-grey", source="CARL: .8", at_least=0, at_most=1
    )
    saturation: float = setting(
        0.8, "colour jitter: saturation factor in 1 +- this", source="CARL: .8", at_least=0, at_most=1
    )
    hue: float = setting(
        0.2, "colour jitter: hue turn in +- this, in turns", source="CARL: .2", at_least=0, at_most=0.5
    )
    gray: float = setting(0.0, "probability of a grey image", source="CARL: .2", at_least=0, at_most=1)
    blur: float = setting(
        0.0,
        "probability of a Gaussian blur",
        source="CARL: .5 inside the jitter; off on FineGym",
        at_least=0,
        at_most=1,
    )
    blur_sigma: tuple[float, float] = setting(
        (0.1, 2.0), "range of the blur's width in output pixels", source="CARL: .1-2", above=0
    )
    erase: float = setting(
        0.0, "probability of one erased rectangle", source="TCLR fine-tuning: .25", at_least=0, at_most=1
    )
    erase_area: tuple[float, float] = setting(
        (0.02, 0.2), "range of the erased share of the image", source="open in the paper", above=0, at_most=1
    )
    crops: Literal[1, 3] = setting(
        1,
        "evaluation: 1 = centre crop, 3 = both ends and the centre of the long side; set by evaluate.crops in a run",
        source="paper, sec 4: 3 spatial crops",
    )
    mean: Triple = setting(
        IMAGENET_MEAN,
        "subtracted per output channel, for pixels in [0, 1], in the order of `channels`",
        source="ImageNet's",
        at_least=0,
        at_most=1,
    )
    std: Triple = setting(
        IMAGENET_STD, "divided by per output channel, in the order of `channels`", source="ImageNet's", above=0
    )
    channels: Literal["rgb", "bgr"] = setting(
        "rgb",
        "channel order of the output",
        source="TCLR's published weights expect bgr in [0, 1] without mean and std",
    )

    def check(self) -> None:
        """Refuse ranges that run backwards."""
        for name in ("scale", "ratio", "blur_sigma", "erase_area"):
            low, high = getattr(self, name)
            if low > high:
                raise BadSetting(name, (low, high), "the first number must not exceed the second; swap them")

    @classmethod
    def carl_ssl(cls, *, size: int = 224, blur: float = 0.4) -> AugmentConfig:
        """Make the views of GITDL (CARL's self-supervised scheme); blur .4 = .5 inside the jitter's .8."""
        return cls(size=size, jitter=0.8, gray=0.2, blur=blur)

    @classmethod
    def evaluation(cls, *, size: int = 224, crops: Literal[1, 3] = 1) -> AugmentConfig:
        """Make the views of testing: whole short side, 1 or 3 crops, nothing random."""
        return cls(size=size, scale=(1.0, 1.0), flip=0.0, crops=crops)


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig(Settings):
    """How frames are picked from a clip."""

    policy: Literal["uniform", "dense", "gitdl", "tclr", "views", "groups"] = setting(
        "uniform",
        "uniform: one frame of each of T equal segments | dense: T frames at a stride | gitdl: a sparse global and a "
        "dense local clip | tclr: four dense clips in a row and a sparse one over all of them, twice | views: evenly "
        "placed test clips | groups: fine groups and a context group of frames, interleaved over the clip",
        source="paper, supplement (gitdl) and sec 4 (views); TCLR; SeFAR: dual-level temporal elements (groups)",
    )
    frames: int = setting(
        32,
        "T, frames of a view; with gitdl no more than half of a usual clip's: a clip of fewer than 2 T - 1 frames is "
        "slowed down",
        source="open in the paper: 32 for f_A, 16 for f_E",
        at_least=1,
    )
    stride: int = setting(
        1, "step between frames of dense, tclr and views", source="open in the paper; TCLR: 2", at_least=1
    )
    views: int = setting(
        1,
        "test clips of views and uniform; independent draws of groups (a weak and a strong one); 1 for other policies",
        source="paper, sec 4: 10; SeFAR: 2 draws",
        at_least=1,
    )
    groups: tuple[int, ...] = setting(
        (),
        "frames of each group of policy groups, the context group last; their sum is T",
        source="SeFAR: [2, 2, 4]",
        at_least=1,
    )

    def check(self) -> None:
        """Refuse combinations without a meaning."""
        if self.views > 1 and self.policy in ("dense", "gitdl", "tclr"):
            raise BadSetting(
                "views", self.views, f"policy {self.policy} has its own; set policy uniform, views or groups"
            )
        if self.policy == "gitdl" and self.frames < 2 * MIN_COMMON:
            rule = f"must be at least {2 * MIN_COMMON} with policy gitdl: its clips share {MIN_COMMON} or more"
            raise BadSetting("frames", self.frames, f"{rule}; raise it")
        if (self.policy == "groups") != bool(self.groups):
            raise BadSetting("groups", self.groups, "goes with policy groups, and only with it; change one of them")
        if self.groups and sum(self.groups) != self.frames:
            raise BadSetting("groups", self.groups, f"must add up to frames, {self.frames}; change one of them")

    @property
    def count(self) -> int:
        """Count the views of a clip."""
        return {"gitdl": 2, "tclr": 2 * (1 + LOCAL_CLIPS)}.get(self.policy, self.views)


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewConfig(Settings):
    """One view of a clip: V choices of T frames, as `[B, V, T, C, H, W]` under its name in a batch.

    V counts what the frame policy chooses (2 of `gitdl`, 10 of `tclr`, `sampling.views` of the others) times the crops.
    """

    name: str = setting(ONLY, "name in the batch, one of its own in its stream")
    sampling: SamplingConfig = section(SamplingConfig, "which frames")
    augment: AugmentConfig = section(AugmentConfig, "from a frame to the encoder's input")
    frames_as: str = setting(
        "", "view whose random numbers choose the frames: with the same sampling both show the same ones; empty = own"
    )
    augment_as: str = setting(
        "", "view whose random numbers crop, mirror and colour it: with the same ranges both are cut alike; empty = own"
    )
    group: int | None = setting(
        None, "the one group of sampling.groups that is shown; null = all, one after the other", at_least=0
    )

    def check(self) -> None:
        """Refuse a view that nothing can be shown of."""
        groups = len(self.sampling.groups)
        if not self.name:
            raise BadSetting("name", self.name, "must not be empty; give the view a name")
        if self.group is not None and self.group >= groups:
            raise BadSetting("group", self.group, f"sampling.groups has {groups} groups; name one of them, from 0 on")

    @property
    def takes(self) -> int:
        """Count the choices of frames."""
        return self.sampling.count

    @property
    def count(self) -> int:
        """Count V: the choices of frames times the crops."""
        return self.takes * self.augment.crops

    @property
    def frames(self) -> int:
        """Count T, the frames of a choice."""
        return self.sampling.frames if self.group is None else self.sampling.groups[self.group]


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderConfig(Settings):
    """How clips are gathered into global batches."""

    batch_size: int = setting(
        32,
        "clips in a global batch, over all ranks",
        source="paper, sec 4: 96 for metric learning; open in the paper elsewhere",
        at_least=1,
    )
    sampler: Literal["shuffle", "balanced"] = setting(
        "shuffle",
        "shuffle: every clip once an epoch | balanced: P classes x K clips",
        source="paper, sec 4: the sub-sampler",
    )
    instances_per_class: int = setting(
        2, "K of balanced", source="paper, sec 4: at least 2 instances of each sampled class", at_least=1
    )
    pseudo_fraction: float = setting(
        0.5,
        "balanced: largest share of pseudo-labelled clips among the draws of a class; where a class has fewer of them, "
        "each of its clips comes equally often, pseudo-labelled or not; 1 = always so",
        source="open in the paper: half",
        at_least=0,
        at_most=1,
    )
    max_repeats: float | None = setting(
        None,
        "balanced: a clip comes at most so many times as often as with shuffle, so that classes of few clips come "
        "less often than others; null = every class equally often",
        source="open in the paper",
        at_least=1,
    )
    batches_per_epoch: int | None = setting(None, "length of an epoch; null = ceil(clips / batch_size)", at_least=1)
    shard_window: int = setting(
        0,
        "shuffle goes through so many shards at a time; 0 = all at once; for remote shards that no node's cache holds: "
        "whole tars are then read one after the other, and a batch mixes only the clips of its window",
        at_least=0,
    )

    def check(self) -> None:
        """Refuse batches that cannot be laid out."""
        if self.sampler != "balanced":
            return
        if self.shard_window:
            raise BadSetting("shard_window", self.shard_window, "needs sampler shuffle, not balanced; set one of them")
        if self.instances_per_class < 2:
            raise BadSetting("instances_per_class", self.instances_per_class, "must be at least 2 with balanced")
        if self.batch_size % self.instances_per_class:
            rule = f"must be a multiple of instances_per_class, {self.instances_per_class}, with sampler balanced"
            raise BadSetting("batch_size", self.batch_size, rule)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingConfig(Settings):
    """How clips are decoded; the same for every stream of a run."""

    decode: Decode = setting(
        "auto",
        "pyav: the cores | dali-gpu: the GPU's video engine | dali-cpu: DALI's own decoder of VP8, VP9 and MJPEG | "
        "dali+pyav: the video engine (without a GPU, dali-cpu) and the cores at once, each with the clips it has time "
        "for | auto: dali+pyav where the engine knows the codec and bits need not repeat, else dali-cpu where it does, "
        "else pyav",
        source="measured: NVDEC alone is slower than the cores that come with it",
    )
    threads: Threads = setting(
        "auto",
        "decoding threads of a worker; auto = this process's share of the cores of its node, less one",
        at_least=1,
    )
    prefetch: int = setting(2, "batches decoded ahead; 0 = each when it is asked for", at_least=0)
    max_bad_fraction: float = setting(
        0.02, "share of unreadable clips above which a stage stops", at_least=0, at_most=1
    )
    cache: CacheConfig = section(CacheConfig, "copies of remote shards on each node")

    def reader(self, order: OrderConfig, views: tuple[ViewConfig, ...], *, repeatable: bool = False) -> ReaderConfig:
        """Make the settings of one stream of clips."""
        mine = {field.name: getattr(self, field.name) for field in fields(ReadingConfig)}
        return ReaderConfig(order=order, views=views, repeatable=repeatable, **mine)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderConfig(ReadingConfig):
    """Everything about reading one stream of clips."""

    order: OrderConfig = section(OrderConfig, "global batches: sampler, size, epoch length")
    views: tuple[ViewConfig, ...] = section(lambda: (ViewConfig(),), "what is seen of a clip, all from one decode")
    fixed_views: int = setting(
        0,
        "draws of frames and augmentation that a clip has in all, of which it shows one each time; 0 = always new ones",
        at_least=0,
    )
    repeatable: bool = setting(False, "a clip has the same bits whenever it is read; set by deterministic in a run")

    def check(self) -> None:
        """Refuse a list without a view, with one name twice, or that refers to a view which is not in it."""
        names = [view.name for view in self.views]
        if not names or len(set(names)) != len(names):
            raise BadSetting("views", names, "one or more are needed, each with a name of its own; rename them")
        for view in self.views:
            for key in ("frames_as", "augment_as"):
                other = getattr(view, key)
                if other and other not in names:
                    raise BadSetting(f"views.{view.name}.{key}", other, f"must be one of {', '.join(names)} or empty")
