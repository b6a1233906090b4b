"""Training state that survives a kill, and weights to hand out.

State (model, optimiser, step) is written with `torch.save` and read back with `weights_only=True`: tensors and plain
containers, no code. The hash of its bytes stands behind them, where torch does not look: torch itself takes flipped
bytes for numbers. Weights are safetensors. torch.distributed.checkpoint is left aside: it reads its metadata by a
pickle that may run code, and notices no changed byte; a state gathered in one file goes on with any number of workers.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._pytree import tree_map

from shards.errors import UserError
from shards.files import atomic

_MORE = 1 << 22  # bytes; no more than this is left when a write has fallen short
_SEAL = b"fpsum-01"
_NAME = re.compile(r"step-(\d{9})\.pt")


def checkpoint_steps(folder: Path) -> list[int]:
    """List the steps that have a checkpoint, oldest first."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("step-*.pt"))
    return sorted(int(match[1]) for match in found if match)


def save_state(folder: Path, step: int, state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write the state after `step` steps atomically, then remove all but the `keep` newest."""
    path = folder / f"step-{step:09d}.pt"
    with _written(path) as temporary:
        torch.save(dict(state), temporary)
        with temporary.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.write(_SEAL + digest)
    for old in checkpoint_steps(folder)[:-keep]:
        (folder / f"step-{old:09d}.pt").unlink(missing_ok=True)
    return path


class StateWriter:
    """Writes states beside the training: a step waits for the copy of its state, not for the disk."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`, one state at a time."""
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._written: Future[Path] | None = None

    def write(self, step: int, state: Mapping[str, Any]) -> None:
        """Copy `state` to memory of its own and begin to write it, once the one before is on disk."""
        self.wait()
        copied = tree_map(lambda x: x.detach().to("cpu", copy=True) if isinstance(x, Tensor) else x, dict(state))
        self._written = self._thread.submit(save_state, self._folder, step, copied)

    def wait(self) -> None:
        """Return when all that was given is on disk; raise what went wrong with it."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def close(self) -> None:
        """Wait, then end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()


def drop_damaged(folder: Path) -> list[Path]:
    """Remove the newest checkpoints that are cut or changed, so that the newest left is whole; list them.

    Called before any rank loads one: all ranks then go on from the same.
    """
    dropped = []
    for step in reversed(checkpoint_steps(folder)):
        path = folder / f"step-{step:09d}.pt"
        if _is_whole(path):
            break
        path.unlink(missing_ok=True)
        dropped.append(path)
    return dropped


def load_state(folder: Path, step: int, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read the state saved after `step` steps; `UserError` when the file is damaged."""
    path = folder / f"step-{step:09d}.pt"
    try:
        if not _is_whole(path):
            raise ValueError("its bytes are not the ones that were written")
        state = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: damaged checkpoint ({error}); type the same command again") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: not a training state; remove it and run again")
    return state


def _is_whole(path: Path) -> bool:
    """Compare a checkpoint's bytes with the hash behind them."""
    behind = len(_SEAL) + hashlib.sha256().digest_size
    with path.open("rb") as file:
        left = file.seek(0, os.SEEK_END) - behind
        if left < 0:
            return False
        file.seek(left)
        seal = file.read()
        file.seek(0)
        digest = hashlib.sha256()
        while left > 0:
            piece = file.read(min(left, _MORE))
            digest.update(piece)
            left -= len(piece) or left
    return seal == _SEAL + digest.digest()


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """`atomic` for libraries that have their own words for a full disk: writing on says it in the system's."""
    with atomic(path) as temporary:
        try:
            yield temporary
        except (RuntimeError, SafetensorError):
            with temporary.open("ab") as file:
                file.write(bytes(_MORE))
                file.flush()
                os.fsync(file.fileno())
            raise


def save_weights(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> None:
    """Write weights as safetensors, atomically; `about` (strings) travels in the header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with _written(path) as temporary:
        save_file(tensors, temporary, metadata=dict(about or {}))


def load_weights(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read safetensors; with a prefix, only the entries that begin with it, the prefix cut off."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))  # safetensors speaks of a device
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot read the weights ({error}); give the path of a safetensors file") from error
    chosen = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not chosen:
        raise UserError(f"{path}: no weights under {prefix!r}; is this the file of another encoder?")
    return chosen
