"""Part `classifier`: a step of f_E through the run's own loop beside a bare torch loop of the same network.

What a step computes is counted of the bare loop; its share of the peak is that of the rate of large matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from finepseudo.compute.config import Precision
from finepseudo.compute.networks import computed_in, prepare_torch
from jobs.bench.gpu.batches import CLASSES, shapes
from jobs.bench.gpu.probe import peak
from jobs.bench.gpu.timing import Numbers, Row, device, seconds, tried
from jobs.bench.gpu.training import row
from shards.errors import UserError

LAYOUTS = {"channels last": torch.channels_last_3d, "plain": torch.contiguous_format}


def measure(tiny: bool) -> Iterator[Row]:
    """Give what `training` gives, TFLOP/s and the shares of the peak and of the bare loop, by precision.

    Last a step whose bits repeat: what `deterministic` costs.
    """
    prepare_torch(torch.get_num_threads(), True)  # cuBLAS is told how to repeat bits once in a process, at its start
    precisions: tuple[Precision, ...] = ("tf32", "fp32", "bf16")
    for precision in precisions:
        prepare_torch(torch.get_num_threads(), False, precision)
        most = peak(precision, tiny)
        run = tried(partial(row, tiny, "cross-entropy", precision))
        yield f"run {precision}", run
        fastest = 0.0
        for layout in LAYOUTS:
            bare = tried(partial(bare_numbers, tiny, precision, layout, most))
            yield f"bare {precision} {layout}", bare
            if isinstance(bare, dict):
                fastest = max(fastest, bare["clips/s"])
                flops = bare["TFLOP a clip"]
        if isinstance(run, dict) and fastest:
            rate = flops * run["clips/s"]
            yield (
                f"shares {precision}",
                {"of the faster bare loop": run["clips/s"] / fastest, "TFLOP/s": rate, "of the peak": rate / most},
            )
    prepare_torch(torch.get_num_threads(), True, "bf16")
    yield "run bf16 deterministic", tried(partial(row, tiny, "cross-entropy", "bf16"))
    prepare_torch(torch.get_num_threads(), False)


def bare_numbers(tiny: bool, precision: Precision, layout: str, most: float) -> Numbers:
    """Train in a bare loop on a batch of the size of the run's; most: TFLOP/s of the peak."""
    shape, memory_format = shapes(tiny)["cross-entropy"], LAYOUTS[layout]
    model = bare_network(tiny).to(device(), memory_format=memory_format)
    clips = torch.randn(shape.clips, 3, shape.frames, shape.side, shape.side, device=device())
    step = bare_step(model, clips.contiguous(memory_format=memory_format), precision)
    with FlopCounterMode(display=False) as counter:
        step()
    flops, spent = counter.get_total_flops() / 1e12, seconds(step, 2 if tiny else 8)
    rate = {"TFLOP a clip": flops / shape.clips, "TFLOP/s": flops / spent, "of the peak": flops / spent / most}
    return {"ms": 1e3 * spent, "clips/s": shape.clips / spent} | rate


def bare_network(tiny: bool) -> Any:  # noqa: ANN401 - its `to` takes a layout, which the types of nn.Module lack
    """Build torchvision's R(2+1)D-18, or to rehearse a network of one convolution; UserError without torchvision."""
    if tiny:
        return nn.Sequential(nn.Conv3d(3, 8, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    try:
        from torchvision.models.video import r2plus1d_18
    except ImportError as error:
        raise UserError(f"torchvision cannot be imported ({error})") from error
    return r2plus1d_18(num_classes=CLASSES)


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
