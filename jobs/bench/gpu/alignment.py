"""Part `alignment`: the kernels of soft-DTW; the rows are those of `finepseudo bench alignment --gpu`."""

from __future__ import annotations

from finepseudo.bench import alignment_gpu
from jobs.bench.gpu.timing import Numbers


def measure(tiny: bool) -> Numbers:
    """Return million pairs a second, errors, memory and launches by shape and dtype."""
    found: Numbers = alignment_gpu.rows(tiny)
    return found
