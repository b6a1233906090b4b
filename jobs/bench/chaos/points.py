"""Named points of a command at which it can be disturbed: each write, rename, removal and new folder below a folder.

Python itself announces them (`sys.addaudithook`), so nothing of the program knows of it; collectives and calls of the
stand-in for Ray announce themselves by `reach`. A point is the process, the moment (before or after), what is done and
to which file, and the how-manieth time of that.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVENT = "finepseudo.chaos"
ERRORS = {"full": errno.ENOSPC, "quota": errno.EDQUOT, "io": errno.EIO, "read-only": errno.EROFS}
LASTING = ("full", "quota", "read-only")
"""Errors that stay until the command ends; one that is not among them strikes once."""
WRITES = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir", "os.rmdir": "rmdir", "os.truncate": "cut"}
STOPPED_S, SLOW_S = 1.0, 0.02
DAY_S = 86_400.0
_DIES_WITH_PARENT = 1
_TEMPORARY = re.compile(r"^\.(.+)\.\d+-[0-9a-f]{8}\.tmp$")


@dataclass(frozen=True, order=True, slots=True)
class Point:
    """Where: process (`driver`, `rank 0`), `before` or `after`, what is done to which file, and which time."""

    role: str
    what: str
    time: int = 1
    after: bool = False

    def __str__(self) -> str:
        """Write it for people."""
        again = f" ({self.time})" if self.time > 1 else ""
        return f"{self.role}: {'after' if self.after else 'before'} {self.what}{again}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What strikes at a point: kill, exit, stop, term, usr1, or an error of `ERRORS`."""

    kind: str
    point: Point


@dataclass
class _Place:
    """This process as the hook knows it."""

    folder: str = ""
    role: str = "driver"
    driver: int = 0
    fault: Fault | None = None
    fired: Path | None = None
    log: int = -1
    slow: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    due: int = 0
    lasting: str = ""


PLACE = _Place()
_busy = threading.local()


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that made it ends, however that ends."""
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)


def reach(name: str) -> None:
    """Say that a named point is reached."""
    sys.audit(EVENT, name)


def watch(folder: Path, *, log: Path | None = None, fault: Fault | None = None, slow: bool = False) -> None:
    """Watch what this process and those it forks do below a folder.

    log: file that takes the points as they are reached; fault: what strikes; slow: each write takes a while.
    """
    PLACE.folder, PLACE.driver, PLACE.fault, PLACE.slow = str(folder.resolve()), os.getpid(), fault, slow
    if fault:
        PLACE.fired = folder.parent / "fired"
    if log:
        PLACE.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.addaudithook(_hook)


def clock_back() -> None:
    """Let the clock of this process, and of those it forks, go a day behind the file system's."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() - DAY_S
    time.time_ns = lambda: real_ns() - int(DAY_S * 1e9)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if getattr(_busy, "now", False):
        return
    _busy.now = True
    try:
        if PLACE.due == threading.get_ident() and PLACE.fault:
            PLACE.due = 0
            _strike(PLACE.fault.kind, "")
        if what := _what(event, arguments):
            _reached(what, str(arguments[0]))
    finally:
        _busy.now = False


def _what(event: str, arguments: tuple[Any, ...]) -> str:
    """Name what is about to be done, where it is one of the watched things."""
    if event == EVENT:
        return str(arguments[0])
    if event == "open":
        flags = arguments[2]
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return ""
        return _named("write", arguments[0])
    verb = WRITES.get(event)
    return _named(verb, arguments[1 if verb == "rename" else 0]) if verb else ""


def _named(verb: str, path: object) -> str:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    text = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - a Path would open nothing, but costs ten times as much
    if not text.startswith(PLACE.folder + "/"):
        return ""
    name = text[len(PLACE.folder) + 1 :]
    head, _, last = name.rpartition("/")
    temporary = _TEMPORARY.match(last)
    if temporary:
        last = f"{temporary[1]} (temporary)"
    return f"{verb} {head}/{last}" if head else f"{verb} {last}"


def _reached(what: str, path: str) -> None:
    PLACE.counts[what] += 1
    if PLACE.slow:
        time.sleep(SLOW_S)
    if PLACE.log >= 0:
        os.write(PLACE.log, f"{time.time()}\t{PLACE.role}\t{PLACE.counts[what]}\t{what}\n".encode())
    if PLACE.lasting and what.startswith(("write", "mkdir", "rename")):
        raise OSError(ERRORS[PLACE.lasting], os.strerror(ERRORS[PLACE.lasting]), path)
    fault = PLACE.fault
    if fault is None or (fault.point.role, fault.point.what, fault.point.time) != (
        PLACE.role,
        what,
        PLACE.counts[what],
    ):
        return
    if not _first():
        return
    if fault.point.after:
        PLACE.due = threading.get_ident()
    else:
        _strike(fault.kind, path)


def _first() -> bool:
    """Tell whether the fault has not struck yet: a worker that is started again passes the point again."""
    try:
        os.close(os.open(str(PLACE.fired), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _strike(kind: str, path: str) -> None:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "exit":
        os._exit(1)
    elif kind == "stop":
        os.posix_spawn("/bin/sh", ["sh", "-c", f"sleep {STOPPED_S}; kill -CONT {os.getpid()}"], dict(os.environ))
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind in ("term", "usr1"):
        os.kill(PLACE.driver, signal.SIGTERM if kind == "term" else signal.SIGUSR1)
    else:
        PLACE.lasting = kind if kind in LASTING else ""
        raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]), path)
