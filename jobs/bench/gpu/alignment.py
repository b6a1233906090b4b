"""Part `alignment`: distances to a gallery and class means; with `pairs` the rows of `bench alignment --gpu`."""

from __future__ import annotations

from collections.abc import Iterator

from finepseudo.bench import alignment_gpu
from jobs.bench.gpu.timing import Row, device


def measure(tiny: bool) -> Iterator[Row]:
    """Give million pairs a second, errors, memory and waits by shape and dtype."""
    yield from alignment_gpu.gallery_rows(device().type, quick=tiny)
