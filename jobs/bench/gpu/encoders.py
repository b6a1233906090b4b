"""Part `encoders`: inference of both encoders, and how far the GPU's embeddings are from the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import torch

from finepseudo.compute.config import Precision
from finepseudo.compute.networks import placed, prepare_torch
from jobs.bench.gpu.batches import objectives, shapes
from jobs.bench.gpu.timing import Row, device, seconds


def measure(tiny: bool) -> Iterator[Row]:
    """Give clips a second by encoder and precision, and the relative difference to fp32 on the CPU."""
    prepare_torch(torch.get_num_threads(), False)
    for precision in reversed(get_args(Precision)):
        for name in ("gitdl", "cross-entropy"):
            torch.manual_seed(0)
            objective: Any = objectives(tiny, precision)[name]()
            encoder, frames = objective.encoder.eval(), shapes(tiny)[name].batch().frames[:, 0]
            with torch.inference_mode():
                few = frames[:2].cpu()
                here = encoder(few).float()
                placed(encoder, device())
                there = encoder(few.to(device())).float().cpu()
                spent = seconds(partial(encoder, frames), 2 if tiny else 5)
            apart = ((here - there).norm() / here.norm()).item()
            yield f"{name} {precision}", {"clips/s": len(frames) / spent, "relative difference to the CPU": apart}
