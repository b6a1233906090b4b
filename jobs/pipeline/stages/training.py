"""What the three trainings have in common: the job of the workers, and the clips it reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finepseudo.compute.config import Precision
from finepseudo.methods.base import AnyMethod, Role
from finepseudo.run_folder.done import DONE, Input, Output
from finepseudo.run_folder.layout import ACCEPTED, BEST, CHECKPOINTS, FAILURE, LOG, PSEUDO_LABELS, WEIGHTS
from jobs.config.training import TrainConfig
from jobs.pipeline.stages.base import Run, Stage, name_of
from jobs.workers.labelling import pseudo_items, ruled_out_items
from shards.read.order import batches_per_epoch
from shards.types import ItemTable

if TYPE_CHECKING:
    from finepseudo.training.objectives import Objective
    from shards.read.streams import StreamInput

Tags = Mapping[str, Any]
READING = ("reading.decode", "deterministic")
MC_DROPOUT = ("action_encoder.mc_passes", "action_encoder.mc_temperature")
"""Keys of f_E that only the embedding of a pool reads."""
ALIGNMENT = (
    *("frame_stage.loss.gamma", "frame_stage.loss.distance", "frame_stage.loss.omega"),
    *("frame_stage.scorer", "frame_stage.skip"),
)
"""Keys of how two clips are aligned and scored: the distance, and whether and how f_S is learned."""
NO_SCORER = "optim.scorer_lr_factor"
FIRST_ROUND = "optim.self_training_factor"
"""Keys of every optimiser that a training without f_S, or of round 0, does not read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long a training is, at which rate, and where it lies in a schedule that spans several: `part` of `parts`."""

    train: TrainConfig
    part: int = 0
    parts: int = 1
    # optimiser steps that the warm-up counts as an epoch; None = those of one
    epoch_steps: int | None = None

    def over(self, lead: StreamInput) -> Schedule:
        """Count it in the steps of its leading stream.

        Where a round is given in steps or clips its warm-up goes by the true labels: how many others were accepted
        moves nothing then.
        """
        if self.epoch_steps is not None:
            return self
        order, epoch = lead.reader.order, batches_per_epoch(lead.items, lead.reader.order)
        true = math.ceil(int((~lead.items.pseudo).sum()) / order.batch_size)
        in_epochs = self.train.epochs is not None or bool(order.batches_per_epoch)
        train = self.train.in_steps(epoch, order.batch_size)
        return replace(self, train=train, epoch_steps=epoch if in_epochs else max(true, 1))


@dataclass(frozen=True, kw_only=True)
class TrainingStage(Stage):
    """A training of one label draw."""

    resources = "training"
    seed: int

    @property
    def outputs(self) -> Sequence[str]:
        """The trained weights."""
        return (WEIGHTS,)

    @property
    def scratch(self) -> Sequence[str]:
        """What a training leaves besides."""
        return (CHECKPOINTS, LOG, FAILURE, BEST, "ray")

    def fit(
        self,
        schedule: Schedule,
        streams: Mapping[str, StreamInput],
        objective: Callable[[], Objective],
        precision: Precision,
        chosen: Mapping[str, Any] | None = None,
        *,
        features: bool = False,
    ) -> None:
        """Train with the workers of the cluster, an encoder of this precision; curves go to the run's log.

        chosen: how the weights are chosen (`probe`, `probe_every`, `keep` of the loop), where it is not the last ones.
        features: on kept frame features.
        """
        from jobs.workers.train import TrainJob, fit, tidy
        from jobs.workers.train_loop import LoopJob, seed_of

        run, cfg = self.run_of, self.cfg
        schedule = schedule.over(next(iter(streams.values())))
        loop = LoopJob(
            run=self.paths.root.resolve(),
            folder=self.folder.resolve(),
            stage=self.name,
            train=schedule.train,
            seed=seed_of(self.seed, self.tags["stage"], self.tags["round"] or 0),
            tags=self.tags,
            part=schedule.part,
            parts=schedule.parts,
            epoch_steps=schedule.epoch_steps,
            **(chosen or {}),
        )
        job = TrainJob(
            loop=loop,
            shards=self.paths.shards.resolve(),
            streams=dict(streams),
            objective=objective,
            threads=cfg.resources.threads,
            deterministic=cfg.deterministic,
            precision=precision,
            batches=tuple(cfg.batches.values()),
            features=cfg if features else None,
        )
        with run.reporter.follow(loop.stage, self.folder / LOG):
            fit(job, cfg.resources, tidied=False)
        tidy(loop.folder)  # not before: a full disk may end the following, and the training is not to begin again


def slowed(train: TrainConfig) -> TrainConfig:
    """Give the training of a self-training round its fraction of the learning rate."""
    optim = train.optim
    return replace(train, optim=replace(optim, lr=optim.lr * optim.self_training_factor))


def labels_folder(run: Run, seed: int, method: AnyMethod | None, labels: int | None) -> Path | None:
    """Find the folder of the pseudo-labels that a training reads."""
    return None if labels is None else run.paths.round(seed, name_of(method), labels)


def labels_input(folder: Path | None, *, whole: bool = False) -> dict[str, Input]:
    """Name the pseudo-labels that a training reads: the accepted ones alone, or the `whole` record of the vote.

    The record has numbers that change no accepted label (the spread of MC-dropout, p_A of another temperature).
    """
    if folder is None:
        return {}
    return {"pseudo_labels": folder / DONE if whole else Output(folder / DONE, ACCEPTED)}


def items_of(run: Run, seed: int, role: Role, labels: Path | None) -> ItemTable:
    """List the clips of a role; accepted labels of a folder stand behind the labelled clips, others carry no label."""
    split = run.split(seed)
    if role == "labelled":
        labelled = split.items("labelled")
        return labelled if labels is None else pseudo_items(labelled, labels / ACCEPTED)
    if role == "ruled_out":
        if labels is None:
            raise ValueError("clips are ruled out by a table of pseudo-labels; its request must say labels=..")
        return ruled_out_items(labels / PSEUDO_LABELS)
    roles = ("unlabelled",) if role == "unlabelled" else ("labelled", "unlabelled")
    return ItemTable.unlabelled(sorted(key for name in roles for key in split.keys(name)))


def optim_keys(section: str, *names: str) -> tuple[str, ...]:
    """Spell keys of a training's optimiser."""
    return tuple(f"{section}.{name}" for name in names)
