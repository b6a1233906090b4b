"""Two real processes with a gloo group between them."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from finepseudo.compute.networks import prepare_torch


def free_port() -> int:
    """Give a port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def two_ranks(worker: Callable[..., None], *arguments: object) -> None:
    """Call `worker(rank, port, *arguments)` in two processes, whose group may meet at the port; raise what they do."""
    multiprocessing.spawn(worker, (free_port(), *arguments), nprocs=2)


@contextmanager
def in_group(rank: int, port: int) -> Iterator[None]:
    """Be one of two ranks, with one thread, deterministic."""
    prepare_torch(1, True)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    yield
    distributed.destroy_process_group()


def assert_equal_to_one(halves: Path, name: str, whole: dict[str, Any]) -> None:
    """Compare the loss, metrics and gradients that either rank has left, of a half each, with those of the whole."""
    assert any(g.abs().max() > 1e-4 for g in whole["gradients"].values())
    for rank in range(2):
        half = torch.load(halves / f"{name}-{rank}.pt", weights_only=True)
        torch.testing.assert_close(half["loss"], whole["loss"], rtol=1e-5, atol=1e-6)
        for part in ("metrics", "gradients"):
            assert half[part].keys() == whole[part].keys()
            for key, value in whole[part].items():
                torch.testing.assert_close(half[part][key], value, rtol=1e-5, atol=1e-6, msg=f"{part} {key}")
