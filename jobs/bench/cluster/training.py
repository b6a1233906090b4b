"""A step of f_E on prepared batches: under Ray Train with one worker and with two, and in a bare torch loop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.run_folder.files import json_lines
from finepseudo.run_folder.layout import LOG
from finepseudo.training.config import CrossEntropyConfig, OptimConfig
from finepseudo.training.objectives import CrossEntropyObjective, Objective
from finepseudo.training.optim import clip_gradients
from jobs.bench.cluster.spent import Pace
from jobs.bench.consistency_steps import FixedStreams
from jobs.config.sections import ResourcesConfig
from jobs.config.training import TrainConfig
from jobs.workers.train import Place, TrainJob, fit
from jobs.workers.train_loop import LoopJob, Reader
from shards.types import ClipBatch, only_view

WALL, PROCESSOR = "bench/wall", "bench/processor"
CLASSES = 48
OPTIM = OptimConfig(lr=1e-4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """A step: network, clips of a worker, their frames and side; steps between two looks at the clocks, and looks."""

    variant: str = "r2plus1d_18"
    clips: int = 2
    frames: int = 8
    side: int = 112
    every: int = 3
    looks: int = 4


def clocks(_objective: nn.Module, _step: int) -> Mapping[str, float]:
    """Read the clocks of a worker; the loop puts them into its log."""
    return {WALL: time.perf_counter(), PROCESSOR: time.process_time()}


def objective_of(extent: Extent) -> Objective:
    """Build f_E in plain cross-entropy."""
    torch.manual_seed(0)
    cfg = ActionEncoderConfig(variant=extent.variant, weights="random")
    return CrossEntropyObjective(build_action_encoder(cfg, CLASSES), CrossEntropyConfig())


def batch_of(extent: Extent) -> ClipBatch:
    """Draw the clips of one worker."""
    n = extent.clips
    frames = torch.randn(n, 1, extent.frames, 3, extent.side, extent.side)
    return ClipBatch(
        keys=tuple(f"clip{number}" for number in range(n)),
        views=only_view(frames, torch.zeros(n, 1, extent.frames, dtype=torch.int64)),
        n_frames=torch.full((n,), 64),
        labels=torch.arange(n) % CLASSES,
        pseudo=torch.zeros(n, dtype=torch.bool),
        valid=torch.ones(n, dtype=torch.bool),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedJob(TrainJob):
    """A training whose batches are there: no shard is read."""

    extent: Extent

    def reader(self, place: Place, objective: Objective) -> Reader:
        """Give the same batch at every step."""
        return FixedStreams(parts={"labelled": batch_of(self.extent)})


def under_ray(extent: Extent, folder: Path, workers: int) -> list[Pace]:
    """Train under Ray Train as a stage does; the pace of a step of rank 0 between two looks, the first left out."""
    steps = extent.every * (extent.looks + 1)
    train = TrainConfig(epochs=None, steps=steps, optim=OPTIM, log_every=steps, checkpoint_every=steps)
    loop = LoopJob(
        run=folder, folder=folder, stage="bench", train=train, seed=1, tags={}, probe=clocks, probe_every=extent.every
    )
    job = PreparedJob(
        loop=loop,
        shards=folder,
        streams={},
        objective=partial(objective_of, extent),
        threads=1,
        deterministic=False,
        precision="fp32",
        extent=extent,
    )
    fit(job, replace(ResourcesConfig(), workers=workers, device="cpu"))
    lines, _ = json_lines((folder / LOG).read_bytes())
    looks = [(line["step"], line[WALL], line[PROCESSOR]) for line in lines if WALL in line]
    return [
        Pace((wall - w) / (step - s), (processor - p) / (step - s))
        for (s, w, p), (step, wall, processor) in itertools.pairwise(looks)
    ]


def bare(extent: Extent) -> list[Pace]:
    """Take the same steps in plain torch: no log, no guard, no checkpoint, nothing but the step."""
    torch.manual_seed(0)
    network = build_action_encoder(ActionEncoderConfig(variant=extent.variant, weights="random"), CLASSES).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=OPTIM.lr, weight_decay=OPTIM.weight_decay, fused=True)
    batch = batch_of(extent)
    frames, found = batch.frames[:, 0], []
    for _ in range(extent.looks + 1):
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(extent.every):
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(network(frames), batch.labels).backward()  # type: ignore[no-untyped-call]
            clip_gradients(network.parameters(), OPTIM)
            optimiser.step()
        spent = time.perf_counter() - wall, time.process_time() - processor
        found.append(Pace(spent[0] / extent.every, spent[1] / extent.every))
    return found[1:]
