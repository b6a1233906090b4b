"""What a run has to do, counted from its plan: clips to train, embed and test, pairs to align, bytes to write."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from jobs.config.run import RunConfig
from jobs.config.sections import InputConfig
from jobs.estimate.rates import Doubt, Rate, Rates
from jobs.pipeline.plan import Plan
from jobs.pipeline.stages.action_encoder import ActionEncoderStage
from jobs.pipeline.stages.base import Stage
from jobs.pipeline.stages.pretrain import ActionPretrainStage
from shards.read.config import LOCAL_CLIPS

CLIP_BYTES = 300_000
"""A clip of some seconds in a shard, with a short side of 256."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Clips by role, classes, and clips of the gallery."""

    labelled: int
    unlabelled: int
    test: int
    gallery: int
    classes: int

    @property
    def clips(self) -> int:
        """All of them."""
        return self.labelled + self.unlabelled + self.test


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One stage. seconds: of one GPU; core_seconds: of one core that reads for it; most: GPUs that can share it."""

    kind: str
    seconds: float
    core_seconds: float
    most: int
    bytes: int = 0
    gib: float = 0.0
    doubts: tuple[Doubt, ...] = ()

    def hours(self, gpus: int, cores: int) -> float:
        """Time on so many GPUs, each with its share of the cores: whichever is slower, computing or reading."""
        used = max(1, min(gpus, self.most))
        share = cores if self.most > gpus or not self.seconds else max(1, cores * used // max(1, gpus))
        return max(self.seconds / used, self.core_seconds / max(1, share)) / 3600


def works(cfg: RunConfig, plan: Plan, counts: Counts, rates: Rates) -> Iterator[Work]:
    """Count the work of every stage of a plan."""
    for stage in (stage for group in plan for stage in group):
        yield _work(cfg, stage, counts, rates)


def _work(cfg: RunConfig, stage: Stage, counts: Counts, rates: Rates) -> Work:
    if isinstance(stage, ActionEncoderStage):
        return _action(cfg, stage, counts, rates)
    if isinstance(stage, ActionPretrainStage):
        return _contrast(cfg, stage, counts, rates)
    count = COUNTED.get(stage.kind)
    return count(cfg, stage, counts, rates) if count else Work(kind=stage.kind, seconds=0, core_seconds=0, most=1)


def _data(cfg: RunConfig, _: Stage, counts: Counts, rates: Rates) -> Work:
    return Work(
        kind="data",
        seconds=0,
        core_seconds=counts.clips * rates.write_ms / 1e3,
        most=math.ceil(counts.clips / cfg.shards.clips_per_shard),
        bytes=counts.clips * CLIP_BYTES,
        doubts=(("writing", "of these clips: as of 93 frames of 340 x 256"),),
    )


def _pretrain(cfg: RunConfig, _: Stage, counts: Counts, rates: Rates) -> Work:
    items = counts.unlabelled + counts.labelled * cfg.pretrain.with_labelled
    batch = cfg.pretrain.order.batch_size
    steps = cfg.pretrain.train.in_steps(math.ceil(items / batch), batch).steps or 0
    return _steps(cfg, rates, "gitdl", cfg.pretrain.input, steps=steps, clips=batch, batch=batch, views=2)


def _contrast(cfg: RunConfig, _: Stage, counts: Counts, rates: Rates) -> Work:
    items = counts.unlabelled + counts.labelled * cfg.pretrain.with_labelled
    batch, inputs = cfg.action_pretrain.order.batch_size, cfg.action_pretrain.input(cfg.action_input)
    steps = cfg.action_pretrain.train.in_steps(math.ceil(items / batch), batch).steps or 0
    views = inputs.sampling.count
    work = _steps(cfg, rates, "cross-entropy", inputs, steps=steps, clips=batch * views, batch=batch)
    # a global clip has no frame that its local ones have not
    reading = steps * batch * rates.decoding_s(LOCAL_CLIPS * inputs.sampling.frames, inputs.augment.size)
    return replace(work, kind="action_pretrain", core_seconds=reading, gib=work.gib * views)


def _frame(cfg: RunConfig, stage: Stage, counts: Counts, rates: Rates) -> Work:
    if cfg.frame_stage.kept_views:
        return _features(cfg, stage, counts, rates)
    train = cfg.frame_stage.self_train if stage.tags["round"] else cfg.frame_stage.train
    batch = cfg.frame_stage.order.batch_size
    steps = train.in_steps(math.ceil(_trained_on(cfg, stage, counts) / batch), batch).steps or 0
    return _steps(cfg, rates, "metric", cfg.frame_input, steps=steps, clips=batch, batch=batch)


def _features(cfg: RunConfig, stage: Stage, counts: Counts, rates: Rates) -> Work:
    """Count what metric learning on kept features computes: each view of a clip once, when the clip is first seen.

    Accepted clips are first seen in round 1; those that a later round adds are few.
    """
    number, inputs, encoder = stage.tags["round"] or 0, cfg.frame_input, cfg.frame_encoder
    new = counts.labelled if number == 0 else _trained_on(cfg, stage, counts) - counts.labelled if number == 1 else 0.0
    clips, frames, side = new * cfg.frame_stage.kept_views, inputs.sampling.frames, inputs.augment.size
    rate = rates.embedding("frame", encoder.variant, encoder.precision, frames * side**2)
    return Work(
        kind="frame_encoder",
        seconds=clips / rate.per_second,
        core_seconds=clips * rates.decoding_s(frames, side),
        most=cfg.frame_stage.order.batch_size,
        doubts=(
            *rate.doubts,
            ("metric learning on kept features", "in its steps: only making the features is counted"),
        ),
    )


def _action(cfg: RunConfig, stage: ActionEncoderStage, counts: Counts, rates: Rates) -> Work:
    streams = cfg.streams_of(stage.method, stage.request)
    clips = sum(reader.order.batch_size * len(reader.views) for _, reader in streams)
    lead = streams[0][1].order.batch_size
    steps = stage.schedule.train.in_steps(math.ceil(_trained_on(cfg, stage, counts) / lead), lead).steps or 0
    return _steps(cfg, rates, "cross-entropy", cfg.action_input, steps=steps, clips=clips, batch=lead)


def _trained_on(cfg: RunConfig, stage: Stage, counts: Counts) -> float:
    """Count the clips of an epoch: the labels, and in self-training the share of the pool that the paper accepts."""
    accepted = cfg.action_stage.assumed_acceptance * counts.unlabelled if stage.tags["round"] else 0.0
    return counts.labelled + accepted


def _steps(
    cfg: RunConfig,
    rates: Rates,
    objective: str,
    inputs: InputConfig,
    *,
    steps: int,
    clips: int,
    batch: int,
    views: int = 1,
) -> Work:
    encoder = cfg.action_encoder if objective == "cross-entropy" else cfg.frame_encoder
    frames, side = inputs.sampling.frames, inputs.augment.size
    rate = rates.training(objective, encoder.variant, encoder.precision, frames * side**2)
    return Work(
        kind={"gitdl": "pretrain", "metric": "frame_encoder"}.get(objective, "action_encoder"),
        seconds=steps * clips / rate.per_second,
        core_seconds=steps * clips * rates.decoding_s(views * frames, side),
        most=batch,
        gib=rate.gib * min(1.0, batch / rates.train[objective]["clips"]),
        doubts=rate.doubts,
    )


def _embedding(cfg: RunConfig, stage: Stage, counts: Counts, rates: Rates) -> Work:
    frames = bool(getattr(stage, "frame", None))
    kept = cfg.frame_stage.kept_views > 0 and bool(stage.tags["round"])  # those of round 0
    clips = counts.labelled + counts.unlabelled
    rate_of: list[tuple[str, ActionEncoderConfig | FrameEncoderConfig, InputConfig]]
    rate_of = [("action", cfg.action_encoder, cfg.action_input)]
    rate_of += [("frame", cfg.frame_encoder, cfg.frame_input)] if frames and not kept else []
    spent, reading = 0.0, 0.0
    doubts: list[Doubt] = []
    for name, encoder, inputs in rate_of:
        count, side = inputs.sampling.frames, inputs.augment.size
        rate = rates.embedding(name, encoder.variant, encoder.precision, count * side**2)
        spent += clips / rate.per_second
        reading = max(reading, clips * rates.decoding_s(count, side))  # a clip is decoded once for both
        doubts += rate.doubts
    width = cfg.frame_input.sampling.frames * cfg.frame_encoder.size("embedding") if frames else 0
    return Work(
        kind="embeddings",
        seconds=spent,
        core_seconds=reading,
        most=math.ceil(clips / cfg.embed.chunk),
        bytes=clips * (width + counts.classes) * 4,
        doubts=tuple(doubts),
    )


def _scores(cfg: RunConfig, _: Stage, counts: Counts, rates: Rates) -> Work:
    rate = rates.alignment(cfg.frame_input.sampling.frames, cfg.embed.gallery_dtype)
    return Work(
        kind="scores",
        seconds=counts.unlabelled * counts.gallery / rate.per_second,
        core_seconds=0,
        most=math.ceil(counts.unlabelled / cfg.embed.chunk),
        bytes=counts.unlabelled * counts.classes * 4,
        doubts=rate.doubts,
    )


def _labels(cfg: RunConfig, stage: Stage, counts: Counts, rates: Rates) -> Work:
    del rates
    kept = min(cfg.embed.keep_classes or counts.classes, counts.classes)
    return Work(kind=stage.kind, seconds=0, core_seconds=0, most=1, bytes=counts.unlabelled * kept * 16)


def _test(cfg: RunConfig, _: Stage, counts: Counts, rates: Rates) -> Work:
    inputs = cfg.test_input()
    frames, side = inputs.sampling.frames, inputs.augment.size
    encoder, views = cfg.action_encoder, cfg.evaluate.views * cfg.evaluate.crops
    rate: Rate = rates.embedding("action", encoder.variant, encoder.precision, frames * side**2)
    return Work(
        kind="evaluation",
        seconds=counts.test * views / rate.per_second,
        core_seconds=counts.test * rates.decoding_s(frames * cfg.evaluate.views, side),
        most=math.ceil(counts.test / cfg.evaluate.chunk),
        bytes=counts.test * counts.classes * 4,
        doubts=rate.doubts,
    )


COUNTED: dict[str, Callable[[RunConfig, Stage, Counts, Rates], Work]] = {
    "data": _data,
    "pretrain": _pretrain,
    "frame_encoder": _frame,
    "embeddings": _embedding,
    "scores": _scores,
    "pseudo_labels": _labels,
    "evaluation": _test,
}
"""Kind of a stage -> what it has to do; f_E has more than one kind, others do nothing worth counting."""
