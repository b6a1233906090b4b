"""Stop at an agreed step: a signal is written into the file `<run folder>/STOP`, which every worker of the run reads.

The file is there from the start. On NFS a node that has looked for a file in vain may go on for a minute to say that it
is not there, half of Slurm's notice; but a file that is opened holds what was written before.

The driver installs the handlers; the training loop asks `requested` at step boundaries on rank 0 and broadcasts the
answer, so that all ranks write the same checkpoint; the driver then exits with `EXIT_CODE`. The Slurm scripts requeue
a job only for that code, and the requeued job continues because resume is the default.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

from jobs.cluster.restarts import note_run
from shards.files import disk_errors

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: stopped on request, everything done so far is on disk, run the same command again."""

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
"""USR1: Slurm's warning (`--signal=B:USR1@120`); USR2: submitit's; TERM: preemption or `scancel`."""

_STOP, _ASKED = "STOP", b"stop\n"


def install(run_dir: Path | str) -> None:
    """Turn the stop signals of this process into `<run_dir>/STOP`.

    Call it in the main thread and after `ray.init`, which takes SIGTERM for itself. A second signal changes nothing,
    even while the first is handled: preemption sends USR1 and TERM at once.
    """
    path = Path(run_dir) / _STOP
    path.parent.mkdir(parents=True, exist_ok=True)
    note_run(path.parent)

    def stop(_number: int, _frame: FrameType | None) -> None:
        ask(run_dir)

    for number in SIGNALS:
        signal.signal(number, stop)


def ask(run_dir: Path | str) -> None:
    """Ask a run to stop at the next step boundary."""
    descriptor = os.open(Path(run_dir) / _STOP, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, _ASKED)  # the same when it is done twice
    os.close(descriptor)


def requested(run_dir: Path | str) -> bool:
    """Tell whether somebody asked this run to stop at the next step boundary."""
    try:
        return (Path(run_dir) / _STOP).read_bytes() == _ASKED
    except (FileNotFoundError, NotADirectoryError):
        return False


def clear(run_dir: Path | str) -> None:
    """Forget an earlier request; the driver calls it once when a run starts or continues."""
    path = Path(run_dir) / _STOP
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


class Preempted(Exception):  # noqa: N818 - not an error
    """Asked to stop; everything done so far is on disk."""


class Lost(Preempted):
    """A part of the cluster is gone; everything done so far is on disk. The message says which, in one line."""
