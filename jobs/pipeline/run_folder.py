"""The run folder: who works in it, for which data it was made, and with what its stages ran.

One rule: config.yaml is written, atomically and under the lock, when a stage is about to run. A command that is refused
or finds nothing to do leaves it as it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

from finepseudo.run_folder.done import DONE, STARTED, Change, differences
from finepseudo.run_folder.files import read_json, write_json, write_text
from finepseudo.run_folder.layout import RunPaths
from finepseudo.run_folder.yaml_text import NoYaml
from jobs.cluster import preempt
from jobs.config.recipes import from_yaml, to_yaml
from jobs.config.run import GROWS, IDENTITY, RunConfig, flat_part
from shards.errors import UserError
from shards.files import disk_errors
from shards.settings import shown

LOCK = ".lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What flock says on a file system without locks, such as Lustre mounted without `flock`."""


TURN_S = 1.0
"""Between two looks whether others have let go of a folder."""


class FolderLock:
    """The lock of a run folder: one command works in it at a time, or any number of `write-shards --part`."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._folder, self._descriptor, self._warned = folder, descriptor, False

    def take(self, *, shared: bool = False, wait: bool = False) -> bool:
        """Take the lock, or change the kind of it; tell whether it could be had, at once unless it may `wait`.

        Whoever made the folder and left nothing in it has removed it, with the file that is locked here: then again.
        """
        while self.lock(shared=shared, wait=wait):
            if self._is_there():
                return True
            self._open_again()
        return False

    def lock(self, *, shared: bool = False, wait: bool = False) -> bool:
        """Take the lock of the file that is open, wherever that is now."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            if not self._warned:
                self._warned = True
                sys.stderr.write(
                    f"warning: {self._folder}: its file system has no locks ({error.strerror}); "
                    "nothing keeps two commands from working in it at the same time\n"
                )
        return True

    def _is_there(self) -> bool:
        held = os.fstat(self._descriptor)
        for path in (self._folder / LOCK, self._folder):  # the folder, where a lock cannot be made in it
            with suppress(OSError):
                if os.path.samestat(held, path.stat()):
                    return True
        return False

    def _open_again(self) -> None:
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = _open_lock(self._folder)
        os.dup2(descriptor, self._descriptor, inheritable=False)
        os.close(descriptor)

    def take_in_turn(self, stop: Path, said: str = "") -> None:
        """Say something where others hold the lock, and take it when they let go.

        `Preempted` when a stop request stands in the folder `stop` before that.
        """
        if self.take():
            return
        if said:
            sys.stdout.write(said + "\n")
            sys.stdout.flush()
        while not self.take():
            if preempt.requested(stop):
                raise preempt.Preempted
            time.sleep(TURN_S)

    def refuse(self) -> UserError:
        """Make the error of who finds it taken."""
        return UserError(f"{self._folder}: another command works in it; wait for its end or use another --name")


@contextmanager
def opened_lock(folder: Path) -> Iterator[FolderLock]:
    """Make the run folder where it is missing and give its lock, which nobody holds yet; it is free at the end.

    Folders that were made here, and in which nothing was begun, are removed again.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with disk_errors(folder / LOCK):
        descriptor = _open_lock(folder)
    lock = FolderLock(folder, descriptor)
    try:
        yield lock
    finally:
        if made and _holds_only_a_lock(folder) and lock.lock():
            (folder / LOCK).unlink(missing_ok=True)
            _remove_empty(made)
        os.close(descriptor)


def _holds_only_a_lock(folder: Path) -> bool:
    return folder.is_dir() and [path.name for path in folder.iterdir()] == [LOCK]


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to the first that something else was put into."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _open_lock(folder: Path) -> int:
    """Open the lock file; in a folder that may only be read, the folder itself stands for it."""
    try:
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM) or not any(folder.iterdir()):
            raise
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def works_in(folder: Path) -> bool:
    """Tell whether a command holds the run folder at this moment; nothing is created or kept."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # nobody has ever locked it, or its files are not ours to read
    try:
        return not FolderLock(folder, descriptor).lock(shared=True)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder alone: two commands at once would write into each other's stages."""
    with opened_lock(folder) as lock:
        if not lock.take():
            raise lock.refuse()
        yield


def write_config(cfg: RunConfig) -> None:
    """Write what the stage that is about to run runs with."""
    path, text = RunPaths(cfg.folder).config, to_yaml(cfg)
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text)


def mend_config(cfg: RunConfig) -> None:
    """Write a config.yaml that is gone or cannot be read again, though no stage has to run."""
    try:
        there = stored_config(cfg) is not None
    except UnreadableConfig:
        there = False
    if not there:
        write_config(cfg)


class UnreadableConfig(UserError):  # noqa: N818 -- the name says what is wrong
    """A config.yaml of another version, or a damaged one."""


def refuse_other_data(cfg: RunConfig, *, force: bool) -> list[Change]:
    """Refuse a run folder whose stages were made from another data set or split; return all keys that changed.

    With `force` a configuration that cannot be read counts as another one: its stages are made again where they differ.
    """
    try:
        changes = changed_keys(cfg)
    except UnreadableConfig:
        if not force:
            raise
        return [("data", "of a config.yaml that this version cannot read", cfg.data.name)]
    if not force and (refused := _of_data(changes)):
        key, was, now = refused[0]
        raise UserError(
            f"{cfg.folder} was made with {key}={shown(was)}, now it is {shown(now)}; use another --name, or --force to "
            "start it over"
        )
    return changes


def changed_keys(cfg: RunConfig) -> list[Change]:
    """List the keys with which the stages of a run folder ran and that now differ; resources change no result."""
    stored = stored_config(cfg)
    return [] if stored is None else differing(stored, cfg)


def differing(one: RunConfig, other: RunConfig) -> list[Change]:
    """List the keys of two configurations that differ in what they make."""
    old, new = (flat_part(cfg, _sections(cfg)) for cfg in (one, other))
    return differences(old, new)


def _sections(cfg: RunConfig) -> list[str]:
    """Name the sections that say what a run makes, not where and with how many machines."""
    return [field.name for field in fields(cfg) if field.name not in ("resources", "out", "name", "tracker")]


def _of_data(changes: Sequence[Change]) -> list[Change]:
    return [change for change in changes if change[0].split(".")[0] in IDENTITY and change[0] not in GROWS]


def record_forced(cfg: RunConfig, changes: Sequence[Change]) -> None:
    """Add to forced.json what of the data and the split is changed, which only --force allows."""
    if changes := _of_data(changes):
        path = RunPaths(cfg.folder).forced
        before = read_json(path) if path.exists() else []
        write_json(path, [*before, *({"key": key, "was": was, "is": now} for key, was, now in changes)])


def stored_config(cfg: RunConfig) -> RunConfig | None:
    """Read what the stages of a run folder ran with; None where none has begun."""
    if not RunPaths(cfg.folder).config.exists() or not _has_begun(cfg.folder):
        return None
    return read_config(cfg.folder)


def read_config(folder: Path) -> RunConfig:
    """Read config.yaml of a run folder; keys that are newer than the folder have their defaults."""
    path = RunPaths(folder).config
    try:
        return from_yaml(path)
    except (NoYaml, UserError) as error:
        if isinstance(error, UserError) and _lacks_a_module(error):  # it is whole: nothing to start over
            raise UserError(f"{path}: {error}") from error
        raise UnreadableConfig(
            f"{path}: cannot be read by this version ({' '.join(str(error).split())}); use another --name, or "
            "`finepseudo run --force` to start this one over"
        ) from error


def _lacks_a_module(error: BaseException | None) -> bool:
    """Tell whether a module of the user's could not be imported."""
    while error is not None and not isinstance(error, ImportError):
        error = error.__cause__
    return error is not None


def _has_begun(folder: Path) -> bool:
    """Tell whether a stage has left its record; label draws that run side by side link them."""
    return any({DONE, STARTED} & set(names) for _, _, names in os.walk(folder, followlinks=True))
