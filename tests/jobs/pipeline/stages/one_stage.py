"""One stage of a plan by its name, and whether a changed key is one that it reads. Nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finepseudo.run_folder.done import record_of
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run, Stage
from jobs.progress import Reporter


def stage(name: str, *overrides: str) -> Stage:
    """Find a stage of the recipe `smoke`."""
    cfg = load("smoke", ["out=/nowhere", *overrides])
    plan = make_plan(Run(cfg, Reporter(Path(cfg.folder), tensorboard=False)))
    (found,) = [stage for group in plan for stage in group if stage.name == name]
    return found


def config(name: str, *overrides: str) -> dict[str, Any]:
    """Give what a stage hashes of the configuration."""
    return dict(stage(name, *overrides).identity.config)


def reads(name: str, *overrides: str) -> bool:
    """Tell whether a stage that is done would be made again by changed keys alone."""
    return config(name, *overrides) != config(name)


def inputs(name: str, *overrides: str) -> dict[str, str]:
    """Give the names of a stage's inputs, with the records and files behind them below the run folder."""
    found = stage(name, *overrides)
    root = found.paths.root
    return {key: record_of(made).relative_to(root).as_posix() for key, made in found.inputs.items()}


DRAWN = {"data": "data/DONE.json", "split": "seed-0/DONE.json"}
"""Inputs of whatever works on the label draw."""
