"""How many optimiser steps self-training takes: a budget in epochs, steps or clips means the same for every method.

Steps and clips are the same number anywhere. Epochs go over the labelled and the accepted clips, so a method that
accepts none has no such length of its own: it gets the steps of the method of the run that takes the most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from finepseudo.methods.base import AnyMethod, TrainAction, flat
from finepseudo.methods.table import METHODS, settings
from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.layout import PSEUDO_LABELS
from jobs.config.run import RunConfig
from jobs.pipeline.stages.base import Run


def rounds_of(cfg: RunConfig, method: AnyMethod) -> list[TrainAction]:
    """List the trainings of f_E that a method asks for after round 0."""
    requests = flat(method.plan(settings(cfg.method, method.name), cfg.rounds, cfg.embed.last_round))
    return [request for request in requests if isinstance(request, TrainAction) and request.number]


def is_accounted(cfg: RunConfig, method: AnyMethod) -> bool:
    """Say whether a method trains for steps that are counted of others: it must come after them."""
    return any(counted_of_others(cfg, request) for request in rounds_of(cfg, method))


def counted_of_others(cfg: RunConfig, request: TrainAction) -> bool:
    """Say whether a training after round 0 has no epochs of its own, where these are the budget."""
    own = request.labels is not None or request.begins or request.epochs is not None
    return cfg.action_stage.self_train.epochs is not None and not own


def _counted(cfg: RunConfig) -> Iterator[tuple[AnyMethod, list[TrainAction]]]:
    """Give the methods of the run whose rounds are all on labels of their own, and these rounds."""
    for method in (METHODS[name] for name in cfg.methods):
        requests = rounds_of(cfg, method)
        if requests and all(request.labels is not None for request in requests):
            yield method, requests


def _labels(run: Run, seed: int, method: AnyMethod, request: TrainAction) -> Path:
    return run.paths.round(seed, method.name, request.labels or 0)


def accounts(run: Run, seed: int) -> dict[str, Path]:
    """Name the records of the pseudo-labels by which steps are counted."""
    return {
        f"steps of {method.name} {request.number}": _labels(run, seed, method, request) / DONE
        for method, requests in _counted(run.cfg)
        for request in requests
    }


def equal_steps(run: Run, seed: int) -> int:
    """Count the steps of all rounds of the method that takes the most.

    Where none of the run labels the pool, each round has `action_stage.assumed_acceptance` of it.
    """
    cfg, split = run.cfg, run.split(seed)
    labelled, order = len(split.keys("labelled")), cfg.action_stage.self_order
    epochs = cfg.action_stage.self_train.epochs or 0

    def steps(accepted: float) -> int:
        return epochs * (order.batches_per_epoch or math.ceil((labelled + accepted) / order.batch_size))

    totals = [
        sum(steps(_accepted(_labels(run, seed, method, request))) for request in requests)
        for method, requests in _counted(cfg)
    ]
    assumed = cfg.action_stage.assumed_acceptance * len(split.keys("unlabelled"))
    return max(totals, default=cfg.rounds * steps(assumed))


def _accepted(folder: Path) -> int:
    table = pq.read_table(folder / PSEUDO_LABELS, columns=["accepted"])
    return int(pc.sum(table["accepted"]).as_py() or 0)
