"""Two real processes with a gloo group between them."""

import socket
from collections.abc import Callable

from torch import multiprocessing


def free_port() -> int:
    """Give a port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def two_ranks(worker: Callable[..., None], *arguments: object) -> None:
    """Call `worker(rank, port, *arguments)` in two processes, whose group may meet at the port; raise what they do."""
    multiprocessing.spawn(worker, (free_port(), *arguments), nprocs=2)
