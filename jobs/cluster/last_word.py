"""A line and a code for when Ray goes down under its driver: Ray itself would wait a minute, then end it with neither.

A thread waits for each process of the local Ray. What else the driver holds is as after a kill, which every stage can
take; the temporary folder goes at the next start. Workers look whether process 1 has become their parent, and would
stay where another adopts them, as a user's service manager does: those with a file of the folder open are ended.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs.cluster.preempt import EXIT_CODE
from jobs.cluster.temp_folder import end_users

PROCESSES = ("raylet/raylet", "gcs/gcs_server")
LINE = "error: Ray ended on this machine ({} is gone); everything done so far is on disk; the same command goes on\n"


@contextmanager
def last_word(folder: Path) -> Iterator[None]:
    """End this process with a line and the code of a stop when a process of the local Ray ends in the block.

    folder: the private folder of that Ray.
    """
    over = threading.Event()
    for name, pid in ray_processes(os.getpid()):
        threading.Thread(target=_wait, args=(name, pid, folder, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _wait(name: str, pid: int, folder: Path, over: threading.Event) -> None:
    with suppress(ChildProcessError):  # Ray was first to ask for how it ended
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if not over.is_set():
        end_users(folder)
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
