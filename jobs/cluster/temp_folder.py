"""The temporary folder of a local Ray, which goes when the driver ends, or with the next driver when it was killed."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PLACE, PREFIX = Path("/tmp"), "fpray-"  # noqa: S108 - short; whoever else's folder has that name is left alone
TOKEN = "token"  # noqa: S105 - name of a file


@contextmanager
def ray_folder() -> Iterator[Path]:
    """Give a short folder for Ray's sockets (paths end at 107 bytes) with a new cluster's token in it.

    Those that killed drivers of this user left are removed first.
    """
    _remove_left_overs()
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=PLACE))
    with _held(made):
        folder = made.rename(made.with_name(made.name.removeprefix(".")))  # only now others look at it
        try:
            token = folder / TOKEN
            token.touch(mode=0o600)
            token.write_text(secrets.token_urlsafe(24))
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_left_overs() -> None:
    """Remove folders of this user that nobody holds."""
    for folder in PLACE.glob(f"{PREFIX}*"):
        with suppress(OSError):  # held: in use; not there: another driver was first
            if folder.lstat().st_uid == os.getuid():
                with _held(folder):
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
