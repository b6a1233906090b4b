"""The temporary folder of a Ray on its node, which goes with the process that made it, or with the next one's start."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shards.files import disk_errors

PLACE, PREFIX = Path("/tmp"), "fpray-"  # noqa: S108 - short; whoever else's folder has that name is left alone


@contextmanager
def private_folder(label: str = "") -> Iterator[Path]:
    """Give a short folder of the node that nobody else can enter (paths of sockets end at 107 bytes).

    Those that killed processes of this user left are removed first. What Ray makes for itself belongs below it, into
    `ray_folder`: the folder that Ray is given becomes open to everybody.
    """
    remove_left_overs()
    with disk_errors(PLACE):
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}{label}", dir=PLACE))  # 0700
    with _held(made):
        folder = made.rename(made.with_name(made.name.removeprefix(".")))  # only now others look at it
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def ray_folder(folder: Path) -> Path:
    """Name the folder for Ray in a private one; Ray makes it, for everybody, and never touches what is above."""
    return folder / "r"


def left_overs() -> list[Path]:
    """List folders of this user that nobody holds: their processes were killed."""
    found = []
    for folder in sorted(PLACE.glob(f"{PREFIX}*")):
        with suppress(OSError):  # held: in use; not there: another process was first
            if folder.lstat().st_uid == os.getuid():
                with _held(folder):
                    found.append(folder)
    return found


def remove_left_overs() -> None:
    """Remove what `left_overs` lists, each while it is held; workers without a driver end before the next begins."""
    for folder in left_overs():
        with suppress(OSError), _held(folder):
            end_users(folder)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a folder. OSError when somebody has it.

    A lock ends with its process, however that ends, and is seen from other containers, where process ids are others.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def end_users(folder: Path) -> None:
    """End Ray's processes of this user, but this one, that have a file below a private folder open."""
    for process in _users(folder):
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _users(folder: Path) -> list[int]:
    """List Ray's other processes that have a file below a folder open; one who looks at a log is none."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked, or is somebody else's
            program = (entry / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
            rays = program == sys.executable or program.startswith("ray::") or "/ray/core/" in program
            if rays and any(_is_below(opened, folder) for opened in (entry / "fd").iterdir()):
                found.add(int(entry.name))
    return sorted(found - {os.getpid()})


def _is_below(opened: Path, folder: Path) -> bool:
    with suppress(OSError):  # closed while we looked
        return opened.readlink().is_relative_to(folder)
    return False
