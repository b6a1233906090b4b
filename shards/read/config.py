"""Settings of reading: order of the clips, frames of a clip, augmentation, decoding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from shards.storage.config import CacheConfig

Triple = tuple[float, float, float]


IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)


IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """What happens to a view between decoding and the encoder. The field defaults leave training views unjittered."""

    # Side of the square output in pixels (open in the paper: 224 for f_A, 112 for f_E).
    size: int = 224
    # Range of the crop's share of the picture area (CARL: .8-1).
    scale: tuple[float, float] = (0.8, 1.0)
    # Range of the crop's width / height (CARL).
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    # Probability of a left-right flip (CARL: .5; set 0 where left and right make classes).
    flip: float = 0.5
    # Probability of the colour jitter (CARL: .8).
    jitter: float = 0.0
    # Colour jitter: brightness factor in 1 +- this (CARL: .8).
    brightness: float = 0.8
    # Colour jitter: contrast factor in 1 +- this, around mid-grey (CARL: .8).
    contrast: float = 0.8
    # Colour jitter: saturation factor in 1 +- this (CARL: .8).
    saturation: float = 0.8
    # Colour jitter: hue turn in +- this, in turns (CARL: .2).
    hue: float = 0.2
    # Probability of a grey picture (CARL: .2).
    gray: float = 0.0
    # Probability of a Gaussian blur (CARL: .5 inside the jitter; off on FineGym).
    blur: float = 0.0
    # Range of the blur's width in output pixels (CARL: .1-2).
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    # Probability of one erased rectangle (TCLR fine-tuning: .25).
    erase: float = 0.0
    # Range of the erased share of the picture (open in the paper).
    erase_area: tuple[float, float] = (0.02, 0.2)
    # Evaluation: 1 = centre crop, 3 = both ends and the centre of the long side (paper, sec 4: 3 spatial crops).
    crops: Literal[1, 3] = 1
    # Subtracted per output channel, for pixels in [0, 1], in the order of `channels`.
    mean: Triple = IMAGENET_MEAN
    # Divided by per output channel, in the order of `channels`.
    std: Triple = IMAGENET_STD
    # Channel order of the output (TCLR's published weights expect bgr in [0, 1] without mean and std).
    channels: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        if self.size < 1:
            raise ValueError(f"augment.size = {self.size}: must be at least 1 pixel")
        if self.crops not in (1, 3):
            raise ValueError(f"augment.crops = {self.crops}: must be 1 or 3")
        if self.channels not in ("rgb", "bgr"):
            raise ValueError(f"augment.channels = {self.channels!r}: must be rgb or bgr")
        for name in ("flip", "jitter", "gray", "blur", "erase"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "a probability in [0, 1]")
        for name in ("brightness", "contrast", "saturation"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "in [0, 1]")
        _check("hue", self.hue, 0 <= self.hue <= 0.5, "in [0, 0.5] turns")
        for name in ("scale", "erase_area"):
            low, high = getattr(self, name)
            _check(name, (low, high), 0 < low <= high <= 1, "0 < low <= high <= 1")
        for name in ("ratio", "blur_sigma"):
            low, high = getattr(self, name)
            _check(name, (low, high), 0 < low <= high, "0 < low <= high")
        _check("std", self.std, min(self.std) > 0, "three numbers above 0")

    @classmethod
    def carl_ssl(cls, *, size: int = 224, blur: float = 0.4) -> AugmentConfig:
        """Make the views of GITDL (CARL's self-supervised scheme); blur .4 = .5 inside the jitter's .8."""
        return cls(size=size, jitter=0.8, gray=0.2, blur=blur)

    @classmethod
    def metric(cls, *, size: int = 224) -> AugmentConfig:
        """Make the views of metric learning: crop and flip only."""
        return cls(size=size)

    @classmethod
    def tclr_finetune(cls, *, size: int = 112) -> AugmentConfig:
        """Make the views of f_E as TCLR fine-tunes: BGR in [0, 1], light colours, one erased rectangle."""
        return cls(
            size=size,
            scale=(0.6, 1.0),
            jitter=0.15,
            brightness=0.1,
            contrast=0.1,
            saturation=0.1,
            hue=0.05,
            gray=0.1,
            erase=0.25,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            channels="bgr",
        )

    @classmethod
    def evaluation(cls, *, size: int = 224, crops: Literal[1, 3] = 1) -> AugmentConfig:
        """Make the views of testing: whole short side, 1 or 3 crops, nothing random."""
        return cls(size=size, scale=(1.0, 1.0), flip=0.0, crops=crops)


def _check(name: str, value: object, ok: bool, rule: str) -> None:
    if not ok:
        raise ValueError(f"augment.{name} = {value}: must be {rule}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderConfig:
    """How clips are gathered into global batches."""

    # Clips in a global batch, over all ranks (paper, sec 4: 96 for metric learning; open in the paper elsewhere).
    batch_size: int = 32
    # `shuffle`: every clip once an epoch; `balanced`: P classes x K clips (paper, sec 4: the sub-sampler).
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    # K of `balanced` (paper, sec 4: at least 2 instances of each sampled class).
    instances_per_class: int = 2
    # `balanced`: largest share of pseudo-labelled clips among the draws of a class (open in the paper: half). Where a
    # class has fewer of them, each of its clips comes equally often, pseudo-labelled or not; 1 = always so.
    pseudo_fraction: float = 0.5
    # Length of an epoch; none = ceil(clips / batch_size).
    batches_per_epoch: int | None = None
    # `shuffle` goes through so many shards at a time; 0 = all at once. For remote shards that no node's cache holds:
    # whole tars are then read one after the other. A batch mixes only the clips of its window.
    shard_window: int = 0

    def __post_init__(self) -> None:
        """Refuse batches that cannot be laid out."""
        if self.batch_size < 1:
            raise ValueError(f"order.batch_size = {self.batch_size}: must be at least 1")
        if self.sampler not in ("shuffle", "balanced"):
            raise ValueError(f"order.sampler = {self.sampler!r}: must be shuffle or balanced")
        if not 0 <= self.pseudo_fraction <= 1:
            raise ValueError(f"order.pseudo_fraction = {self.pseudo_fraction}: must lie in [0, 1]")
        if self.batches_per_epoch is not None and self.batches_per_epoch < 1:
            raise ValueError(f"order.batches_per_epoch = {self.batches_per_epoch}: must be at least 1 (or null)")
        if self.shard_window < 0 or (self.shard_window and self.sampler == "balanced"):
            raise ValueError(
                f"order.shard_window = {self.shard_window}: 0 or more, and only with order.sampler shuffle"
            )
        if self.sampler == "balanced":
            if self.instances_per_class < 2:
                raise ValueError(f"order.instances_per_class = {self.instances_per_class}: a class needs 2 or more")
            if self.batch_size % self.instances_per_class:
                raise ValueError(
                    f"order.batch_size = {self.batch_size}: must be a multiple of order.instances_per_class = "
                    f"{self.instances_per_class} when order.sampler is balanced"
                )


MIN_COMMON = 4
"""Frames that the global and the local clip of `gitdl` share at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How frames are picked from a clip."""

    # `uniform`: one frame of each of T equal segments; `dense`: T frames at a stride; `gitdl`: a sparse global and a
    # dense local clip (paper, supplement: GITDL); `views`: evenly placed test clips (paper, sec 4: 10 clips); `groups`:
    # fine groups and a context group of frames, interleaved over the clip (SeFAR: dual-level temporal elements).
    policy: Literal["uniform", "dense", "gitdl", "views", "groups"] = "uniform"
    # T, frames of a view (open in the paper: 32 for f_A, 16 for f_E).
    frames: int = 32
    # Step between frames of `dense` and `views` (open in the paper; TCLR: 2).
    stride: int = 1
    # Test clips of `views` and `uniform` (paper, sec 4: 10); independent draws of `groups` (SeFAR: a weak and a strong
    # one); 1 for every other policy.
    views: int = 1
    # Frames of each group of `groups`, the context group last (SeFAR: [2, 2, 4]); their sum is T.
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse combinations without a meaning."""
        if self.policy not in ("uniform", "dense", "gitdl", "views", "groups"):
            raise ValueError(f"sampling.policy = {self.policy!r}: must be uniform, dense, gitdl, views or groups")
        for name in ("frames", "stride", "views"):
            if getattr(self, name) < 1:
                raise ValueError(f"sampling.{name} = {getattr(self, name)}: must be at least 1")
        if self.views > 1 and self.policy in ("dense", "gitdl"):
            raise ValueError(
                f"sampling.views = {self.views}: several views need sampling.policy = uniform, views or groups, "
                f"not {self.policy}"
            )
        if self.policy == "gitdl" and self.frames < MIN_COMMON:
            raise ValueError(f"sampling.frames = {self.frames}: gitdl needs at least {MIN_COMMON}")
        self._check_groups()

    def _check_groups(self) -> None:
        shown = list(self.groups)
        if (self.policy == "groups") != bool(shown):
            raise ValueError(f"sampling.groups = {shown}: goes with sampling.policy = groups, and only with it")
        if shown and (min(shown) < 1 or sum(shown) != self.frames):
            raise ValueError(
                f"sampling.groups = {shown}: groups of 1 frame or more that add up to sampling.frames = {self.frames} "
                "are needed"
            )

    @property
    def count(self) -> int:
        """Count the views of a clip."""
        return 2 if self.policy == "gitdl" else self.views


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderConfig:
    """Everything about reading one stream of clips."""

    # Global batches: sampler, size, epoch length.
    order: OrderConfig = field(default_factory=OrderConfig)
    # Frames of a view and views of a clip.
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    # From a frame to the encoder's input.
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    # auto = the GPU's video engine, else DALI's CPU decoder for VP8, VP9 and MJPEG, else PyAV.
    decode: Literal["auto", "dali-gpu", "dali-cpu", "pyav"] = "auto"
    # Threads that decode and transform.
    threads: int = 2
    # Batches prepared ahead in the background; 0 = each when it is asked for.
    prefetch: int = 2
    # Share of failing clips among this reader's items over which it stops with the list.
    max_bad_fraction: float = 0.02
    # Copies of remote shards on this node.
    cache: CacheConfig = field(default_factory=CacheConfig)

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if self.threads < 1:
            raise ValueError(f"reader.threads = {self.threads}: must be at least 1")
        if self.prefetch < 0:
            raise ValueError(f"reader.prefetch = {self.prefetch}: must be 0 or more")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ValueError(f"reader.max_bad_fraction = {self.max_bad_fraction}: must lie in [0, 1]")

    @property
    def views(self) -> int:
        """Count V, the views of a clip in a batch: those of the frame policy times the crops."""
        return self.sampling.count * self.augment.crops
