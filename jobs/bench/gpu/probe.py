"""Part `probe`: versions, the ceilings of the device (copy, matrix products) and what its video engine decodes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

import torch

from finepseudo.compute.config import Precision
from finepseudo.compute.networks import computed_in
from jobs.bench.gpu.timing import Row, device, seconds

PACKAGES = ("torch", "triton", "numpy", "av", "webdataset", "nvidia-dali-cuda130", "nvidia-dali-cuda120", "ray")


def measure(tiny: bool) -> Iterator[Row]:
    """Give versions and, on a GPU, TB/s of a copy (read and written) and TFLOP/s of products."""
    yield from {"python": platform.python_version(), "cpus": os.cpu_count(), "versions": versions()}.items()
    if device().type != "cuda":
        return
    part = torch.cuda.get_device_properties(0)
    yield from {"gpu": part.name, "sms": part.multi_processor_count, "cuda": torch.version.cuda}.items()
    yield "L2", part.L2_cache_size
    yield "copy TB/s", copy_rate(1 << (20 if tiny else 30))
    for precision in get_args(Precision):
        yield f"{precision} TFLOP/s", peak(precision, tiny)


def versions() -> dict[str, str | None]:
    """Look up the versions of the packages that the figures depend on; None where one is missing."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def copy_rate(count: int) -> float:
    """Return TB/s of copying `count` bytes on the device, read and written."""
    source = torch.empty(count, dtype=torch.uint8, device=device())
    target = torch.empty_like(source)
    return 2 * count / seconds(lambda: target.copy_(source), 10) / 1e12


def peak(precision: Precision, tiny: bool) -> float:
    """Return TFLOP/s of a large square product of random numbers."""
    side, dtype = (8192, torch.bfloat16) if precision == "bf16" else (4096, torch.float32)
    side = 256 if tiny else side
    x = torch.randn(side, side, device=device(), dtype=dtype)
    with computed_in("tf32" if precision == "tf32" else "fp32", device()):
        return 2 * side**3 / seconds(lambda: x @ x, 10) / 1e12
