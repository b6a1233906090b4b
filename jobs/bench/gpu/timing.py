"""How the parts take time: device events on a GPU, the wall clock on a CPU, medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from shards.errors import UserError

Numbers = dict[str, Any]
Row = tuple[str, Any]
"""What was measured, and the figure or figures of it."""


def device() -> torch.device:
    """Name the device that is measured: the first GPU, else the CPU."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def seconds(call: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of a call after one that warms up."""
    call()
    return statistics.median(_one(call) for _ in range(rounds))


def _one(call: Callable[[], object]) -> float:
    if not torch.cuda.is_available():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def tried(measure: Callable[[], Numbers]) -> Numbers | str:
    """Measure, or say why that cannot be done here, as where memory does not suffice: other rows follow."""
    try:
        return measure()
    except (UserError, torch.OutOfMemoryError) as error:
        return f"not measured: {error}"
    finally:
        gc.collect()  # a network that did not fit lies in circles
        torch.cuda.empty_cache()


def peak_gib() -> float:
    """Return the most memory that was allocated since `reset_peak`, in GiB; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def reset_peak() -> None:
    """Begin to look for the most memory again."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
