"""One trial of a sweep: f_A trained on a part of the labelled clips, judged on the rest.

A trial's folder is named by its values, and how it ended is written there at once. So a sweep that was killed at any
moment is begun again with the same draws and trains only what has not ended: what is there is reported again.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from finepseudo.methods.base import LABELLED
from finepseudo.run_folder.files import read_json, sha256_json, write_json
from finepseudo.run_folder.layout import CHECKPOINTS, LOG, WEIGHTS, RunPaths
from finepseudo.training.checkpoint import checkpoint_steps
from jobs.config.run import RunConfig
from jobs.pipeline.run_folder import opened_lock
from jobs.progress import Tail
from jobs.tune.space import SpaceConfig, with_values
from jobs.workers import models
from jobs.workers.pair_probe import PairProbe
from jobs.workers.train import TrainJob, fit
from jobs.workers.train_loop import LoopJob, seed_of
from shards.errors import UserError
from shards.read.order import batches_per_epoch
from shards.read.streams import StreamInput
from shards.splits.label_split import read_split
from shards.types import ItemTable

METRIC = "tune/average_precision"
ENDED = "ended.json"
State = Literal["done", "stopped"]
"""`stopped`: by the scheduler, because others were better."""


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


def trial_job(cfg: RunConfig, space: SpaceConfig, folder: Path) -> TrainJob:
    """Describe the training of one trial."""
    paths, seed = RunPaths(cfg.folder), cfg.seeds[0]
    labelled = read_split(paths.split(seed)).items("labelled")
    items, held = hold_out(labelled, space.holdout, seed)
    stage = cfg.frame_stage
    train = stage.train.in_steps(batches_per_epoch(items, stage.order), stage.order.batch_size)
    every = max(1, math.ceil((train.steps or 0) / space.reports))
    probe = PairProbe(cfg=cfg, shards=paths.shards.resolve(), labelled=labelled, held=frozenset(held))
    tags = {"seed": seed, "method": None, "round": 0, "stage": f"tune-{folder.name}"}
    loop = LoopJob(
        run=paths.root.resolve(),
        folder=folder,
        stage=f"tune/{folder.name}",
        train=replace(train, checkpoint_every=every),
        seed=seed_of(seed, "frame_encoder", 0),
        tags=tags,
        probe=probe,
        probe_every=every,
    )
    weights = (paths.pretrain(cfg.pretrain.owner(seed)) / WEIGHTS).resolve()
    return TrainJob(
        loop=loop,
        shards=paths.shards.resolve(),
        streams={LABELLED: StreamInput(items=items, reader=cfg.reader(cfg.frame_input.view(), order=stage.order))},
        objective=partial(models.alignability, cfg, seed, weights),
        threads=cfg.resources.threads,
        deterministic=cfg.deterministic,
        precision=cfg.frame_encoder.precision,
    )


def trial_folder(folder: Path, values: Mapping[str, Any]) -> Path:
    """Where the trial with these values is, in whichever attempt at the sweep it runs."""
    return folder / "trials" / sha256_json(dict(values))[:12]


def run_trial(values: dict[str, Any], *, cfg: RunConfig, space: SpaceConfig, folder: Path) -> None:
    """Run one trial: the function that Ray Tune calls. The same values drawn twice wait for each other."""
    import ray.tune
    from ray.tune.integration.ray_train import TuneReportCallback

    chosen, trial = with_values(cfg, values), trial_folder(folder, values)
    with opened_lock(trial) as lock:
        lock.take(wait=True)
        for line in reported(trial):
            ray.tune.report({METRIC: line[METRIC], "step": line["step"]})
        if not has_ended(trial):
            fit(trial_job(chosen, space, trial), chosen.resources, callbacks=[TuneReportCallback()])
            end_trial(trial, "done")


def reported(trial: Path) -> list[dict[str, Any]]:
    """List what a trial has reported of the training that it need not do again."""
    lines = sorted((line for line in Tail(trial / LOG).new() if METRIC in line), key=lambda line: int(line["step"]))
    if has_ended(trial):
        return lines
    kept = max(checkpoint_steps(trial / CHECKPOINTS), default=0)
    return [line for line in lines if line["step"] <= kept]


def has_ended(trial: Path) -> bool:
    """Tell whether a trial needs no more training."""
    return (trial / ENDED).exists() or (trial / WEIGHTS).exists()


def end_trial(trial: Path, state: State) -> None:
    """Write how a trial ended, once."""
    if not (trial / ENDED).exists():
        write_json(trial / ENDED, {"state": state})


def tidy(trial: Path) -> None:
    """Remove what only a trial that goes on needs."""
    if has_ended(trial):
        for name in (CHECKPOINTS, "ray"):
            shutil.rmtree(trial / name, ignore_errors=True)


def result_of(trial: Path, error: object) -> dict[str, Any]:
    """Give a trial's row of the table: state, reports, last value."""
    lines = reported(trial)
    state = "failed" if error else "unfinished"
    if has_ended(trial):
        state = read_json(trial / ENDED)["state"] if (trial / ENDED).exists() else "done"
    return {
        "trial": trial.name,
        "state": state,
        "reports": len(lines),
        METRIC: lines[-1][METRIC] if lines else None,
    }
