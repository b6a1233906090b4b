"""Part `alignment`: the kernels of soft-DTW; the rows are those of `finepseudo bench alignment --gpu`."""

from __future__ import annotations

from finepseudo.bench import alignment_gpu
from jobs.bench.gpu.timing import Numbers, device


def measure(tiny: bool) -> Numbers:
    """Return million pairs a second, errors, memory, launches and waits by shape and dtype."""
    return alignment_gpu.gpu_rows(device().type, quick=tiny)
