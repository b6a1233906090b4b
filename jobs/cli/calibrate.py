"""Measure the training steps of a recipe's networks on this machine (`finepseudo plan --calibrate`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective, GitdlObjective, Objective
from jobs.bench.gpu.batches import Shape
from jobs.bench.gpu.timing import device
from jobs.bench.gpu.training import step_numbers
from jobs.config.run import RunConfig
from jobs.config.sections import InputConfig
from jobs.estimate.rates import Rates

STEPS = 3


def calibrated(cfg: RunConfig, known: Rates, workers: int) -> Rates:
    """Measure the training steps of this recipe's networks here, on a worker's share of a batch; the rest as it was."""
    rows = {}
    for name, (make, inputs, batch) in _objectives(cfg).items():
        views = 2 if name == "gitdl" else 1
        clips = max(2, batch // workers)
        shape = Shape(clips=clips, views=views, frames=inputs.sampling.frames, side=inputs.augment.size)
        numbers = step_numbers(name, make, shape, STEPS)
        encoder = cfg.action_encoder if name == "cross-entropy" else cfg.frame_encoder
        rows[name] = {
            "variant": encoder.variant,
            "clips": clips,
            "frames": shape.frames,
            "side": shape.side,
            encoder.precision: [numbers["clips/s"], numbers["GiB"]],
            "fp32": [numbers["clips/s"], numbers["GiB"]],
        }
    here = f"this machine ({device()})"
    source = f"training: {here}, {STEPS} steps each; all else: {known.source}"
    return replace(known, device=f"{here} for training, {known.device} for the rest", source=source, train=rows)


def _objectives(cfg: RunConfig) -> dict[str, tuple[Callable[[], Objective], InputConfig, int]]:
    frame, action = replace(cfg.frame_encoder, weights="random"), replace(cfg.action_encoder, weights="random")

    def metric() -> Objective:
        encoder = build_frame_encoder(frame)
        if cfg.frame_stage.freeze_image:
            encoder.freeze_image_encoder()
        return AlignabilityObjective(encoder, AlignabilityScorer(), cfg.frame_stage.loss)

    def gitdl() -> Objective:
        return GitdlObjective(build_frame_encoder(frame), cfg.pretrain.loss)

    def classify() -> Objective:
        return CrossEntropyObjective(build_action_encoder(action, 48), cfg.action_stage.loss)

    return {
        "gitdl": (gitdl, cfg.pretrain.input, cfg.pretrain.order.batch_size),
        "metric": (metric, cfg.frame_input, cfg.frame_stage.order.batch_size),
        "cross-entropy": (classify, cfg.action_input, cfg.action_stage.order.batch_size),
    }
