"""One worker against two at an equal global batch: two real processes that exchange gradients by gloo."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from finepseudo.bench.race import Target, table_row
from finepseudo.run_folder.layout import CHECKPOINTS, WEIGHTS
from finepseudo.training.checkpoint import load_weights
from finepseudo.training.config import OptimConfig
from jobs.bench.data import Figure
from jobs.bench.train.steps import Case, Drawn, losses, train

WORKERS, STEPS = 2, 20
STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "scorer.mean", "scorer.variance", "scorer.seen")
EQUAL = Figure(target=Target(must=1e-5, aim=1e-6), unit="{:.1e}", smaller=True)
OPTIM = OptimConfig(name="sgd", warmup_epochs=0)
"""The product's rate. Not Adam, which makes a whole step of a gradient that is zero but for rounding."""


@dataclass(frozen=True, slots=True)
class Gap:
    """How far two trainings are apart.

    loss: of the losses, over the loss where that is above 1; weights: of a weight or running statistic, likewise;
    moved: how far the training took a weight at the most, running statistics left out.
    """

    loss: float
    weights: float
    moved: float

    @property
    def worst(self) -> float:
        """What is judged."""
        return max(self.loss, self.weights)

    def cells(self) -> list[str]:
        """Fill a row of the table."""
        must, aim, worst, _, verdict = EQUAL.cells([self.worst])
        words = f"loss {self.loss:.1e}, weights {self.weights:.1e}, moved by up to {self.moved:.1e}"
        return [must, aim, worst, words, verdict]

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
            max(_apart(start[name], mine[name]) for name in mine if not name.endswith(STATISTICS)),
        )


def _apart(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return float(((a - b).abs() / a.abs().clamp(min=1)).max()) if a.numel() else 0.0


def _worker(rank: int, folder: Path, chosen: list[Case], steps: int) -> None:
    torch.set_num_threads(1)
    meet = f"file://{(folder / 'meet').absolute()}"
    dist.init_process_group("gloo", meet, rank=rank, world_size=WORKERS)
    for number, case in enumerate(chosen):
        train(Drawn(case=case, rank=rank, world=WORKERS), folder / f"{number}" / "two", OPTIM, steps, steps)
        if rank == 0:
            shutil.rmtree(folder / f"{number}" / "two" / "stage" / CHECKPOINTS)
    dist.destroy_process_group()


def gaps(chosen: list[Case], folder: Path, steps: int = STEPS) -> Iterator[Gap]:
    """Train each with two workers, then with one, and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    if chosen:
        multiprocessing.spawn(_worker, (folder, chosen, steps), nprocs=WORKERS)  # type: ignore[attr-defined, no-untyped-call]
    for number, case in enumerate(chosen):
        own = folder / f"{number}"
        train(Drawn(case=case), own / "one", OPTIM, steps, steps)
        yield Gap.between(own / "one", own / "two", dict(case.objective().state_dict()))
        shutil.rmtree(own)


def rounding(case: Case, folder: Path, steps: int) -> Gap:
    """Train with one worker and with one whose clips are in the opposite order, and compare: no rank takes part."""
    train(Drawn(case=case), folder / "one", OPTIM, steps, steps)
    train(Drawn(case=case, turned=True), folder / "two", OPTIM, steps, steps)
    found = Gap.between(folder / "one", folder / "two", dict(case.objective().state_dict()))
    shutil.rmtree(folder)
    return found


def compare_ranks(chosen: list[Case], folder: Path) -> None:
    """Print a row an encoder; where it is missed, what rounding alone does, and the row from a settled start."""
    able, missed = [case for case in chosen if not case.lacks], []
    for case, found in zip(able, gaps(able, folder / "first"), strict=True):
        table_row(_named(case), found.cells())
        if found.worst > EQUAL.target.must:
            missed.append(case)
            alone = rounding(case, folder / "order", STEPS).cells()
            table_row(f"{case.name}: 1 worker, clips in another order", ["", "", *alone[2:4], ""])
    settled = [replace(case, settled=True) for case in missed if not case.settled]
    for case, found in zip(settled, gaps(settled, folder / "settled"), strict=True):
        table_row(_named(case), found.cells())
    for case in chosen:
        if case.lacks:
            table_row(_named(case), EQUAL.cells(f"not measured: {case.lacks}"))


def _named(case: Case) -> str:
    start = ", settled start, larger clips" if case.settled else ""
    precision = ", float64" if case.dtype == torch.float64 else ""
    return f"{case.name}: 1 worker against 2, {STEPS} steps{start}{precision}"
