"""One worker against two at an equal global batch: two real processes that exchange gradients by gloo."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from finepseudo.bench.race import Target, table_row
from finepseudo.run_folder.layout import WEIGHTS
from finepseudo.training.checkpoint import load_weights
from finepseudo.training.config import OptimConfig
from jobs.bench.data import Figure
from jobs.bench.train.steps import Case, Drawn, losses, train

WORKERS, STEPS = 2, 20
EQUAL = Figure(target=Target(must=1e-5, aim=1e-6), unit="{:.1e}", smaller=True)
OPTIM = OptimConfig(name="sgd", lr=1e-3, warmup_epochs=0)
"""Not Adam, which makes a whole step of a gradient that is zero but for rounding."""


@dataclass(frozen=True, slots=True)
class Gap:
    """How far two trainings are apart.

    loss: of the losses, over the loss where that is above 1; weights: of a weight or running statistic, likewise;
    moved: how far the training took a weight at the most.
    """

    loss: float
    weights: float
    moved: float

    @staticmethod
    def between(one: Path, two: Path, start: dict[str, Tensor]) -> Gap:
        """Compare losses and weights of the folders of two trainings from `start`."""
        a, b = losses(one), losses(two)
        mine, other = (load_weights(folder / "stage" / WEIGHTS) for folder in (one, two))
        if a.keys() != b.keys() or mine.keys() != other.keys():
            raise ValueError(f"{one} and {two} took other steps, or hold other weights")
        return Gap(
            max(abs(a[step] - b[step]) / max(1.0, abs(a[step])) for step in a),
            max(_apart(mine[name], other[name]) for name in mine),
            max(_apart(start[name], mine[name]) for name in mine if not name.endswith("num_batches_tracked")),
        )


def _apart(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return float(((a - b).abs() / a.abs().clamp(min=1)).max()) if a.numel() else 0.0


def _worker(rank: int, folder: Path, case: Case, steps: int) -> None:
    torch.set_num_threads(1)
    meet = f"file://{(folder / 'meet').absolute()}"
    dist.init_process_group("gloo", meet, rank=rank, world_size=WORKERS)
    train(Drawn(case=case, rank=rank, world=WORKERS), folder / "two", OPTIM, steps, steps)
    dist.destroy_process_group()


def gap(case: Case, folder: Path, steps: int = STEPS) -> Gap:
    """Train with one worker and with two, and compare."""
    folder.mkdir()
    train(Drawn(case=case), folder / "one", OPTIM, steps, steps)
    multiprocessing.spawn(_worker, (folder, case, steps), nprocs=WORKERS)
    found = Gap.between(folder / "one", folder / "two", dict(case.objective().state_dict()))
    shutil.rmtree(folder)
    return found


def compare_ranks(chosen: list[Case], folder: Path) -> None:
    """Print a row an encoder."""
    for number, case in enumerate(chosen):
        name = f"{case.name}: 1 worker against 2, {STEPS} steps" + (", float64" if case.dtype == torch.float64 else "")
        if case.lacks:
            table_row(name, EQUAL.cells(f"not measured: {case.lacks}"))
            continue
        found = gap(case, folder / f"{number}")
        must, aim, worst, _, verdict = EQUAL.cells([max(found.loss, found.weights)])
        words = f"loss {found.loss:.1e}, weights {found.weights:.1e}, moved by up to {found.moved:.1e}"
        table_row(name, [must, aim, worst, words, verdict])
