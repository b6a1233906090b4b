"""A line and a code for when Ray goes down under its driver: Ray itself would wait a minute, then end it with neither.

A thread waits for each process of the local Ray. What else the driver holds is as after a kill, which every stage can
take; workers end with their raylet, the temporary folder goes at the next start.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs.cluster.preempt import EXIT_CODE

PROCESSES = ("raylet/raylet", "gcs/gcs_server")
LINE = "error: Ray ended on this machine ({} is gone); everything done so far is on disk; the same command goes on\n"


@contextmanager
def last_word() -> Iterator[None]:
    """End this process with a line and the code of a stop when a process of the local Ray ends in the block."""
    over = threading.Event()
    for name, pid in ray_processes(os.getpid()):
        threading.Thread(target=_wait, args=(name, pid, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _wait(name: str, pid: int, over: threading.Event) -> None:
    with suppress(ChildProcessError):  # Ray was first to ask for how it ended
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if not over.is_set():
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        with suppress(OSError):
            os.write(2, LINE.format(name).encode())
        os._exit(EXIT_CODE)


def ray_processes(driver: int) -> list[tuple[str, int]]:
    """List the processes of Ray that a driver started itself: name, process id."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            program = (entry / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
            if parent == driver and program.endswith(PROCESSES):
                found.append((Path(program).name, int(entry.name)))
    return sorted(found)
