"""A training that is killed within every one of its steps beside one that is left alone: equal bits."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import torch

from finepseudo.bench.race import table_row
from finepseudo.compute.networks import prepare_torch
from finepseudo.run_folder.layout import WEIGHTS
from finepseudo.training.checkpoint import load_weights
from finepseudo.training.config import OptimConfig
from jobs.bench.train.steps import Case, Cut, Drawn, losses, train

STEPS, CHECKPOINT_EVERY = 6, 2
OPTIM = OptimConfig(warmup_epochs=0)
"""The product's own: Adam, whose averages have to come back too."""


def differences(case: Case, folder: Path) -> list[str]:
    """Name what a training that is killed in each of its steps ends with otherwise: losses of steps, tensors."""
    folder.mkdir()
    whole, killed = folder / "whole", folder / "killed"
    train(Drawn(case=case), whole, OPTIM, STEPS, STEPS)
    for step in range(1, STEPS):
        with suppress(Cut):
            train(Drawn(case=case, cut=step), killed, OPTIM, STEPS, CHECKPOINT_EVERY)
    train(Drawn(case=case), killed, OPTIM, STEPS, CHECKPOINT_EVERY)
    found = _differences(whole, killed)
    shutil.rmtree(folder)
    return found


def _differences(whole: Path, killed: Path) -> list[str]:
    a, b = losses(whole), losses(killed)
    mine, other = (load_weights(path / "stage" / WEIGHTS) for path in (whole, killed))
    steps = [f"loss of step {step}" for step in sorted(a.keys() | b.keys()) if a.get(step) != b.get(step)]
    names = sorted(mine.keys() | other.keys())
    unlike = [name for name in names if not (name in mine and name in other and torch.equal(mine[name], other[name]))]
    return steps + unlike


def compare_resumed(chosen: list[Case], folder: Path) -> None:
    """Print a row an encoder."""
    prepare_torch(threads=1, deterministic=True)
    for number, case in enumerate(chosen):
        name = f"{case.name}: killed in each of {STEPS} steps, a checkpoint every {CHECKPOINT_EVERY}"
        if case.lacks:
            table_row(name, ["equal bits", "", f"not measured: {case.lacks}", "", ""])
            continue
        found = differences(case, folder / f"{number}")
        said = f"{len(found)} differ, first {found[0]}" if found else "equal bits"
        table_row(name, ["equal bits", "", said, "", "MISSED" if found else "must"])
    prepare_torch(threads=1, deterministic=False)
