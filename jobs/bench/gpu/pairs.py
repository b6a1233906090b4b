"""Part `pairs`: the alignment of all pairs of a training step, forward and backward, and pysdtw at the same work."""

from __future__ import annotations

from collections.abc import Iterator

from finepseudo.bench import alignment_gpu
from jobs.bench.gpu.timing import Row, device


def measure(tiny: bool) -> Iterator[Row]:
    """Give milliseconds, launches, gradient errors and waits by frames of a clip."""
    yield from alignment_gpu.training_rows(device().type, quick=tiny)
