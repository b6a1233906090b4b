"""Part `training`: a step of f_A's objectives through the run's own loop; `classifier` has that of f_E."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from finepseudo.compute.config import Precision
from finepseudo.compute.networks import prepare_torch
from finepseudo.methods.base import LABELLED
from finepseudo.training.objectives import Objective
from jobs.bench.gpu.batches import FixedReader, Shape, objectives, shapes
from jobs.bench.gpu.timing import Numbers, Row, device, peak_gib, reset_peak, tried
from jobs.config.training import TrainConfig
from jobs.workers.train_loop import Loop, LoopJob


def measure(tiny: bool) -> Iterator[Row]:
    """Give milliseconds, clips a second, GiB and host syncs of a step, by objective and precision."""
    for precision in reversed(get_args(Precision)):  # first what recipes of the papers' scale use
        prepare_torch(torch.get_num_threads(), False, precision)
        for name in ("metric", "metric on kept features", "gitdl"):
            yield f"{name} {precision}", tried(partial(row, tiny, name, precision))


def row(tiny: bool, name: str, precision: Precision) -> Numbers:
    """Measure an objective of `objectives` at its shape."""
    return step_numbers(name, objectives(tiny, precision)[name], shapes(tiny)[name], steps=2 if tiny else 8)


def step_numbers(name: str, make: Callable[[], Objective], shape: Shape, steps: int) -> Numbers:
    """Train `steps` steps of an objective on one batch through the loop of a run, and one more to count host syncs."""
    torch.manual_seed(0)
    objective: Any = make()
    batch = shape.batch(objective.encoder.features if shape.kept else 0)
    with tempfile.TemporaryDirectory() as folder:
        train = TrainConfig(steps=steps, log_every=steps, checkpoint_every=1000)
        job = LoopJob(run=Path(folder), folder=Path(folder), stage=name, train=train, seed=1, tags={})
        loop = TimedLoop(job, objective, FixedReader(batch, steps + 1), device=device())
        reset_peak()
        loop.run()
        median = statistics.median(loop.times[1:])
        found: Numbers = {"ms": 1e3 * median, "first ms": 1e3 * loop.times[0], "clips/s": shape.clips / median}
        found |= {"GiB": peak_gib(), "host syncs": loop.host_syncs(batch)}
    return found


class TimedLoop(Loop):
    """The loop of a run with a clock around each step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they are
        """Take the arguments of Loop."""
        super().__init__(*args, **kwargs)
        self.times: list[float] = []

    def _train_step(self, *args: Any) -> None:  # noqa: ANN401
        start = time.perf_counter()
        super()._train_step(*args)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter() - start)

    def host_syncs(self, batch: Any) -> int | None:  # noqa: ANN401 - whatever the reader gives
        """Count how often the host waits for the GPU in one step; None on a CPU, which has nothing to wait for."""
        if self.device.type != "cuda":
            return None
        on_device = {LABELLED: batch.to(self.device)}
        torch.cuda.synchronize(self.device)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                super()._train_step(on_device, 0.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(one.message) for one in seen)
