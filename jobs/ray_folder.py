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

PLACE, PREFIX = Path("/tmp"), "fp-"  # noqa: S108 - a short name, and whoever else has it does not matter
LOCK, TOKEN = "driver.lock", "token"


@contextmanager
def ray_folder() -> Iterator[Path]:
    """Give a short folder for Ray's sockets (paths end at 107 bytes) with a new cluster's token in it.

    Those that killed drivers of this user left are removed first.
    """
    _remove_left_overs()
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=PLACE))
    with (made / LOCK).open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        folder = made.rename(made.with_name(made.name.removeprefix(".")))  # only now others look at it
        try:
            token = folder / TOKEN
            token.touch(mode=0o600)
            token.write_text(secrets.token_urlsafe(24))
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_left_overs() -> None:
    """Remove folders whose lock nobody holds.

    A lock ends with its process, however that ends, and is seen from other containers, where process ids are others.
    """
    for folder in PLACE.glob(f"{PREFIX}*"):
        with suppress(OSError):  # no lock: not one of ours; held: in use; gone: another driver was first
            if folder.lstat().st_uid == os.getuid():
                with (folder / LOCK).open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
