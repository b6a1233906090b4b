"""One trial of a sweep: encoders trained on a part of the labelled clips and judged on the rest.

A trial's folder is named by its values, and how it ended is written there at once. So a sweep that was killed at any
moment is begun again with the same draws and trains only what has not ended: what is there is reported again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from finepseudo.methods.table import METHODS
from finepseudo.run_folder.files import read_json, sha256_json, write_json, write_text
from finepseudo.run_folder.layout import CHECKPOINTS, LOG, WEIGHTS
from finepseudo.training.checkpoint import checkpoint_steps
from jobs.config.run import RunConfig
from jobs.pipeline.run_folder import opened_lock
from jobs.progress import Tail
from jobs.tune.space import SpaceConfig, with_values
from jobs.tune.trainings import action_job, frame_job, pretrain_job
from jobs.tune.votes import vote_value
from jobs.workers.pair_probe import OBJECTIVE
from jobs.workers.train import fit, tidy

METRIC = OBJECTIVE
ENDED = "ended.json"
State = Literal["done", "stopped"]
"""`stopped`: by the scheduler, because others were better."""


def trial_folder(folder: Path, values: Mapping[str, Any]) -> Path:
    """Where the trial with these values is, in whichever attempt at the sweep it runs."""
    return folder / "trials" / sha256_json(dict(values))[:12]


def run_trial(values: dict[str, Any], *, cfg: RunConfig, space: SpaceConfig, folder: Path) -> None:
    """Run one trial: the function that Ray Tune calls. The same values drawn twice wait for each other."""
    import ray.tune

    chosen, trial = with_values(cfg, values), trial_folder(folder, values)
    with opened_lock(trial) as lock:
        lock.take(wait=True)
        one_draw = space.length == space.reports and space.trains != "votes" and space.draws == 1
        before = reported(trial) if one_draw else _lines(trial)
        for line in before:
            ray.tune.report({METRIC: line[METRIC], "step": line["step"]})
        if has_ended(trial):
            return
        if one_draw:
            train_draw(chosen, space, trial, chosen.seeds[0], report=True)
        else:
            for place in range(len(before), space.draws):
                value = draw_value(chosen, space, folder, trial, chosen.seeds[place])
                ray.tune.report({METRIC: _append_mean(trial, place, value), "step": place})
        end_trial(trial, "done")


def train_draw(cfg: RunConfig, space: SpaceConfig, folder: Path, seed: int, *, report: bool) -> None:
    """Train what is searched on one label draw; `report`: tell Ray Tune while it trains."""
    from ray.tune.integration.ray_train import TuneReportCallback

    callbacks = [TuneReportCallback()] if report else []
    if space.trains == "action_encoder":
        fit(action_job(cfg, space, folder, seed), cfg.resources, callbacks=callbacks)
        return
    if space.pretrains and not (folder / "pretrain" / WEIGHTS).exists():
        fit(pretrain_job(cfg, space, folder, seed), cfg.resources)
    fit(frame_job(cfg, space, folder, seed), cfg.resources, callbacks=callbacks)


def draw_value(cfg: RunConfig, space: SpaceConfig, folder: Path, trial: Path, seed: int) -> float:
    """Give the objective of one label draw."""
    if space.trains == "votes":
        return vote_value(cfg, space, trained_once(cfg, space, folder, seed), seed)
    draw = trial / f"draw-{seed}"
    if not (draw / WEIGHTS).exists():
        train_draw(cfg, space, draw, seed, report=False)
    return float([line for line in Tail(draw / LOG).new() if METRIC in line][-1][METRIC])


def trained_once(cfg: RunConfig, space: SpaceConfig, folder: Path, seed: int) -> Path:
    """Train f_A and f_E of a label draw on the rest, once for all trials of a sweep; say where they are."""
    made = folder / "trained" / f"draw-{seed}"
    with opened_lock(made) as lock:
        lock.take(wait=True)
        if METHODS[space.method].aligns and not (made / "frame" / WEIGHTS).exists():
            fit(frame_job(cfg, space, made / "frame", seed), cfg.resources)
        if not (made / "action" / WEIGHTS).exists():
            fit(action_job(cfg, space, made / "action", seed), cfg.resources)
    return made


def _lines(trial: Path) -> list[dict[str, Any]]:
    return sorted((line for line in Tail(trial / LOG).new() if METRIC in line), key=lambda line: int(line["step"]))


def _append_mean(trial: Path, place: int, value: float) -> float:
    """Note the objective of one more draw; return the mean so far."""
    lines = _lines(trial)
    values = [*(float(line["value"]) for line in lines), value]
    mean = sum(values) / len(values)
    lines.append({"step": place, "value": value, METRIC: mean})
    write_text(trial / LOG, "".join(json.dumps(line) + "\n" for line in lines))
    return mean


def reported(trial: Path) -> list[dict[str, Any]]:
    """List what a trial has reported of the training that it need not do again."""
    lines = _lines(trial)
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


def tidy_ended(trial: Path) -> None:
    """Remove what only a trial that goes on needs."""
    if has_ended(trial):
        tidy(trial)


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
