"""What trials train: f_A after pre-training of its own or of the base run, or f_E, on a part of the labelled clips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from finepseudo.methods.base import LABELLED, AnyMethod, TrainAction, flat
from finepseudo.methods.table import METHODS, settings
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.objectives import Objective
from jobs.config.run import RunConfig
from jobs.config.training import TrainConfig
from jobs.pipeline.stages.pretrain import videos_of
from jobs.pipeline.stages.training import slowed
from jobs.tune.space import SpaceConfig
from jobs.workers import models
from jobs.workers.class_probe import ClassProbe
from jobs.workers.labelling import read_truth
from jobs.workers.pair_probe import PairProbe
from jobs.workers.train import TrainJob
from jobs.workers.train_loop import LoopJob, seed_of
from shards.errors import UserError
from shards.read.order import batches_per_epoch
from shards.read.streams import StreamInput
from shards.splits.label_split import read_split
from shards.types import ItemTable

KEPT = "held.npz"
"""What a training keeps of the held-out clips, where votes are judged on it."""


def hold_out(labelled: ItemTable, share: float, seed: int) -> tuple[ItemTable, list[str]]:
    """Take ceil(share n) of each class's labelled clips out of training, never the last: (rest, keys held out)."""
    rng = np.random.default_rng(seed_of(seed, "hold out") % 2**32)
    held: list[int] = []
    for label in np.unique(labelled.labels):
        places = rng.permutation(np.flatnonzero(labelled.labels == label))
        held += places[: min(math.ceil(share * len(places)), len(places) - 1)].tolist()
    if not held:
        raise UserError("tune: no class has two labelled clips, nothing can be held out; raise split.ratio")
    rest = np.setdiff1d(np.arange(len(labelled)), held)
    kept = ItemTable(keys=[labelled.keys[i] for i in rest], labels=labelled.labels[rest], pseudo=labelled.pseudo[rest])
    return kept, sorted(labelled.keys[i] for i in held)


def frame_job(cfg: RunConfig, space: SpaceConfig, folder: Path, seed: int) -> TrainJob:
    """Describe the metric learning of f_A and f_S on the rest, judged by pairs with a held-out clip."""
    paths = RunPaths(cfg.folder)
    labelled = read_split(paths.split(seed)).items("labelled")
    items, held = hold_out(labelled, space.holdout, seed)
    probe = PairProbe(
        cfg=cfg,
        shards=paths.shards.resolve(),
        labelled=labelled,
        held=frozenset(held),
        keep=folder / KEPT if space.trains == "votes" else None,
    )
    stage = cfg.frame_stage
    started = folder / "pretrain" if space.pretrains else paths.pretrain(cfg.pretrain.owner(seed))
    return _job(
        cfg,
        space,
        folder,
        seed=seed,
        train=stage.train,
        probe=probe,
        streams={LABELLED: StreamInput(items=items, reader=cfg.reader(cfg.frame_input.view(), order=stage.order))},
        objective=partial(models.alignability, cfg, seed, (started / WEIGHTS).resolve()),
    )


def pretrain_job(cfg: RunConfig, space: SpaceConfig, folder: Path, seed: int) -> TrainJob:
    """Describe GITDL with a trial's keys, on the videos that the pre-training of a run sees."""
    reader = cfg.reader(cfg.pretrain.input.view(), order=cfg.pretrain.order)
    return _job(
        cfg,
        space,
        folder / "pretrain",
        seed=seed,
        train=cfg.pretrain.train,
        streams={LABELLED: StreamInput(items=videos_of(cfg, seed), reader=reader)},
        objective=partial(models.gitdl, cfg, seed),
    )


def action_job(cfg: RunConfig, space: SpaceConfig, folder: Path, seed: int) -> TrainJob:
    """Describe the training of f_E on the rest, as round 0 or as the space's method, judged by the held-out clips.

    A method begins at the encoder's own start and not at round 0, which was trained on the held-out clips too.
    """
    paths = RunPaths(cfg.folder)
    split = read_split(paths.split(seed))
    labelled = split.items("labelled")
    items, held = hold_out(labelled, space.holdout, seed)
    truth = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
    method = METHODS[space.method] if space.method and space.trains == "action_encoder" else None
    request = request_of(cfg, method)
    train = slowed(cfg.action_stage.self_train) if request.number else cfg.action_stage.train
    roles = {"unlabelled": split.keys("unlabelled"), "all": sorted([*labelled.keys, *split.keys("unlabelled")])}
    clips = {role: ItemTable.unlabelled(sorted(keys)) for role, keys in roles.items()} | {"labelled": items}
    streams = {
        stream.name: StreamInput(items=clips[stream.role], reader=reader)
        for stream, reader in cfg.streams_of(method, request)
    }
    train = counted(train, next(iter(streams.values())), request.times)
    spec = models.ActionTraining(
        request=request,
        method=method.name if method else None,
        seed=seed,
        n_classes=len(read_truth(paths.clips)[1]),
        steps=train.steps or 0,
        start=None,
        labels=None,
        reads=(),
    )
    probe = ClassProbe(
        cfg=cfg,
        shards=paths.shards.resolve(),
        truth={key: truth[key] for key in held},
        tested=method.tested if method else "student",
        keep=folder / KEPT if space.trains == "votes" else None,
    )
    objective = partial(models.action_objective, cfg, spec)
    return _job(cfg, space, folder, seed=seed, train=train, probe=probe, streams=streams, objective=objective)


def request_of(cfg: RunConfig, method: AnyMethod | None) -> TrainAction:
    """Give the training that a method asks for, from the encoder's own start; None: that of round 0."""
    if method is None:
        return TrainAction(number=0, start=None, plain=True)
    plan = flat(method.plan(settings(cfg.method, method.name), max(1, cfg.rounds), cfg.embed.last_round))
    found = next((one for one in plan if isinstance(one, TrainAction) and _alone(one)), None)
    if found is None:
        why = "trains f_E on what a run makes before, labels or another network"
        raise UserError(f"tune: {method.name} {why}; its votes may be searched")
    return replace(found, start=None)


def _alone(request: TrainAction) -> bool:
    """Tell whether a training is f_E's and needs nothing that a run makes before it but where it starts."""
    main = TrainAction(number=0, start=None).name
    return request.name == main and request.labels is None and not request.reads


def counted(train: TrainConfig, lead: StreamInput, times: int = 1) -> TrainConfig:
    """Give the length of a training in steps of its leading stream."""
    order = lead.reader.order
    return train.in_steps(batches_per_epoch(lead.items, order), order.batch_size, times)


def _job(
    cfg: RunConfig,
    space: SpaceConfig,
    folder: Path,
    *,
    seed: int,
    train: TrainConfig,
    streams: Mapping[str, StreamInput],
    objective: partial[Objective],
    probe: PairProbe | ClassProbe | None = None,
) -> TrainJob:
    lead = streams[LABELLED]
    train = counted(train, lead)
    every = max(1, math.ceil((train.steps or 0) / space.reports))
    loop = LoopJob(
        run=RunPaths(cfg.folder).root.resolve(),
        folder=folder,
        stage=f"tune/{folder.name}",
        train=replace(train, checkpoint_every=every),
        seed=seed_of(seed, "action_encoder" if isinstance(probe, ClassProbe) else "frame_encoder", 0),
        tags={"seed": seed, "method": None, "round": 0, "stage": f"tune-{folder.name}"},
        probe=probe,
        probe_every=every if probe else 0,
    )
    encoder = cfg.action_encoder if isinstance(probe, ClassProbe) else cfg.frame_encoder
    return TrainJob(
        loop=loop,
        shards=RunPaths(cfg.folder).shards.resolve(),
        streams=streams,
        objective=objective,
        threads=cfg.resources.threads,
        deterministic=cfg.deterministic,
        precision=encoder.precision,
    )
