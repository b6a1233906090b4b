"""Host time of the training alignment, which needs no GPU: its kernels are compiled for sm_90, launches do nothing.

Prints as JSON the median processor time of a forward and backward of 96 videos in us, what autograd takes for
a product of one number, and a launch: what Triton does in Python before it asks the driver.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from finepseudo.bench.alignment_gpu import pass_of
from finepseudo.soft_dtw import backends, triton_pairs, triton_rows


class NoLaunch:
    """Stands where Triton keeps what launches a kernel."""

    def __init__(self, *_: Any) -> None:
        pass

    def __call__(self, *_: Any) -> None:
        """Launch nothing."""


class NoDevice:
    """Stands where Triton keeps the driver: a GPU of Hopper's kind that runs nothing."""

    launcher_cls = NoLaunch

    @property
    def utils(self) -> NoDevice:
        """Return what knows the device."""
        return self

    def get_current_target(self) -> GPUTarget:
        """Return sm_90."""
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        """Return the first."""
        return 0

    def get_current_stream(self, _: int) -> int:
        """Return the default one."""
        return 0

    def get_device_properties(self, _: int) -> dict[str, int]:
        """Return the shared memory of a Hopper's multiprocessor."""
        return {"max_shared_mem": 227 << 10}

    def load_binary(self, *_: Any) -> tuple[int, int, int, int, int]:
        """Return module, function, registers, spills and threads."""
        return 1, 1, 128, 0, 1024


def product(x: Tensor) -> Tensor:
    """Return the gradient of the sum of 2 x."""
    a = x.detach().requires_grad_()
    return torch.autograd.grad((a * 2.0).sum(), a)[0]


def microseconds(call: Callable[[], object], rounds: int) -> float:
    """Return the median processor time of a call, after one that warms up."""
    call()
    found = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return round(1e6 * statistics.median(found), 1)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    driver.set_active(NoDevice())
    backends.resolve = lambda *_: "triton"
    triton_pairs._mass_cells = lambda _: 1 << 30  # as on a GPU: one launch
    x, weight, lengths = torch.randn(96, 32, 128), torch.randn(96, 96), torch.full((96,), 32)
    measured = {
        "pass": partial(pass_of, x, weight),
        "autograd of a product": partial(product, torch.ones(1)),
        "launch": partial(triton_rows.unit_rows, x, lengths),
    }
    print(json.dumps({name: microseconds(call, rounds) for name, call in measured.items()}))


if __name__ == "__main__":
    main()
