"""Part `training`: a step of every objective through the run's own loop, and a bare torch loop of the same network."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from finepseudo.compute.config import Precision
from finepseudo.compute.networks import computed_in, prepare_torch
from finepseudo.methods.base import LABELLED
from finepseudo.training.objectives import Objective
from jobs.bench.gpu.batches import CLASSES, FixedReader, Shape, objectives, shapes
from jobs.bench.gpu.timing import Numbers, Row, device, peak_gib, reset_peak, seconds
from jobs.config.training import TrainConfig
from jobs.workers.train_loop import Loop, LoopJob


def measure(tiny: bool) -> Iterator[Row]:
    """Give milliseconds, clips a second, GiB and host syncs of a step, by objective and precision."""
    for precision in reversed(get_args(Precision)):  # first what recipes of the papers' scale use
        prepare_torch(torch.get_num_threads(), False, precision)
        for name, make in reversed(objectives(tiny, precision).items()):
            yield f"{name} {precision}", step_numbers(name, make, shapes(tiny)[name], steps=2 if tiny else 8)
            if name == "cross-entropy":
                yield from bare_numbers(tiny, precision)


def step_numbers(name: str, make: Callable[[], Objective], shape: Shape, steps: int) -> Numbers:
    """Train `steps` steps of an objective on one batch through the loop of a run, and one more to count host syncs."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        train = TrainConfig(steps=steps, log_every=steps, checkpoint_every=1000)
        job = LoopJob(run=Path(folder), folder=Path(folder), stage=name, train=train, seed=1, tags={})
        loop = TimedLoop(job, make(), FixedReader(shape.batch(), steps + 1), device=device())
        reset_peak()
        loop.run()
        median = statistics.median(loop.times[1:])
        found: Numbers = {"ms": 1e3 * median, "first ms": 1e3 * loop.times[0], "clips/s": shape.clips / median}
        found |= {"GiB": peak_gib(), "host syncs": loop.host_syncs(shape.batch())}
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


def bare_numbers(tiny: bool, precision: Precision) -> Iterator[Row]:
    """Train torchvision's R(2+1)D-18 in a bare loop on the batch of `cross-entropy`; nothing without torchvision."""
    try:
        from torchvision.models.video import r2plus1d_18
    except ImportError:
        yield "bare", "torchvision is not installed"
        return
    shape = shapes(tiny)["cross-entropy"]
    for layout in (torch.channels_last_3d, torch.contiguous_format):
        model = r2plus1d_18(num_classes=CLASSES).to(device(), memory_format=layout)
        clips = torch.randn(shape.clips, 3, shape.frames, shape.side, shape.side, device=device())
        spent = seconds(bare_step(model, clips.contiguous(memory_format=layout), precision), 2 if tiny else 8)
        name = "channels last" if layout == torch.channels_last_3d else "plain"
        yield f"bare torchvision r2plus1d_18 {precision} {name}", {"ms": 1e3 * spent, "clips/s": shape.clips / spent}


def bare_step(model: nn.Module, clips: torch.Tensor, precision: Precision) -> Callable[[], None]:
    """Return one training step of a classifier on clips [B, C, T, H, W]."""
    labels = torch.arange(len(clips), device=clips.device) % CLASSES
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=clips.is_cuda)

    def step() -> None:
        with computed_in(precision, clips.device):
            logits = model(clips)
        optimiser.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step
