"""Blocks of ports: each Ray of a node gets one of its own, so that jobs which start side by side never meet.

A block belongs to the process that listens on its first port, the guard; nobody else's Ray is started in it until that
process ends, however it ends.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from shards.errors import UserError

FIRST, SIZE, BLOCKS = 20000, 4, 3000
"""Ray's workers take 10002-19999, the system hands out 32768 and up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PortBlock:
    """One block. `guard` listens on its first port on all addresses of this host."""

    guard: socket.socket

    @property
    def first(self) -> int:
        """The guard's port."""
        return int(self.guard.getsockname()[1])

    @property
    def head(self) -> int:
        """The port of Ray's head."""
        return self.first + 1

    @property
    def client_server(self) -> int:
        """The port of Ray's client server, which nobody here uses and which cannot be left out."""
        return self.first + 2


def reserve(number: int, tries: int = 50) -> PortBlock:
    """Take the block of a number (a job's, a process's), or the next one that is free."""
    for block in range(number, number + tries):
        first = FIRST + SIZE * (block % BLOCKS)
        guard = _listen(first)
        if guard is None:
            continue
        if all(_is_free(port) for port in range(first + 1, first + SIZE)):
            return PortBlock(guard=guard)
        guard.close()
    start = FIRST + SIZE * (number % BLOCKS)
    last = start + SIZE * tries - 1
    raise UserError(f"ports {start} to {last} are in use on this host; is another program taking them?")


def _listen(port: int) -> socket.socket | None:
    """Listen on all addresses; what lingers of a connection that is over does not count, a listening socket does."""
    try:
        return socket.create_server(("", port))
    except OSError:
        return None


def _is_free(port: int) -> bool:
    probe = _listen(port)
    if probe is not None:
        probe.close()
    return probe is not None
