"""Part `alignment`: the kernels of soft-DTW; the rows are those of `finepseudo bench alignment --gpu`."""

from __future__ import annotations

from collections.abc import Iterator

from finepseudo.bench import alignment_gpu
from jobs.bench.gpu.timing import Row, device


def measure(tiny: bool) -> Iterator[Row]:
    """Give million pairs a second, errors, memory, launches and waits by shape and dtype."""
    yield from alignment_gpu.gpu_rows(device().type, quick=tiny)
