"""A line for when Ray takes its driver with it: a driver whose raylet dies is ended by Ray, without a word of ours.

A small process waits for the driver's end. Where the driver went without saying that it was ready to, and a process of
its Ray was gone before it, the line is the last thing on the terminal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PROCESSES = ("raylet/raylet", "gcs/gcs_server")
LINE = "error: Ray ended on this machine ({}); everything done so far is on disk; the same command goes on\n"
_WAIT = """
import os, sys, time
line, pids = sys.argv[1], sys.argv[2:]
if not sys.stdin.read():
    def gone(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True
    dead = [name for name, _, pid in (text.rpartition("=") for text in pids) if gone(pid)]
    if dead:
        time.sleep(.5)
        sys.stderr.write(line.format(f"{', '.join(dead)} is gone"))
"""


@contextmanager
def last_word() -> Iterator[None]:
    """Say a line when a process of the local Ray dies in the block and takes this one with it."""
    watched = [f"{name}={pid}" for name, pid in ray_processes(os.getpid())]
    watcher = _start(watched)
    try:
        yield
    finally:
        with suppress(BrokenPipeError):
            watcher.communicate(b"over")


def _start(watched: Sequence[str]) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-S", "-c", _WAIT, LINE, *watched]
    return subprocess.Popen(line, stdin=subprocess.PIPE, start_new_session=True)


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
