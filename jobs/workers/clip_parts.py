"""Actors that make part files of clips: what they are told, and what all of them do with a row of clips."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import torch
from torch import Tensor, nn

from finepseudo.compute.networks import placed, prepare_torch
from finepseudo.consistency.network import Network
from jobs.cluster import preempt
from jobs.config.run import RunConfig
from jobs.config.sections import InputConfig
from jobs.progress import Count
from jobs.workers.map_parts import Pool, Work, device_of, map_parts
from jobs.workers.models import trained_action_encoder
from jobs.workers.part_files import write_part
from shards.read.config import BOTH, ViewConfig
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ItemTable


class Told(Protocol):
    """What an actor over parts is told at least: the run and the folder of its part files."""

    @property
    def cfg(self) -> RunConfig:
        """The configuration of the run."""
        ...

    @property
    def run(self) -> Path:
        """The run folder."""
        ...

    @property
    def folder(self) -> Path:
        """Where the part files are."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipJob:
    """What every actor that reads clips is told."""

    cfg: RunConfig
    run: Path
    folder: Path
    shards: Path
    n_classes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionJob(ClipJob):
    """And where f_E is; method: whose network it is, None for f_E itself, as round 0 leaves it."""

    action_weights: Path
    method: str | None = None

    def encoder(self) -> Network:
        """Load f_E."""
        return trained_action_encoder(self.cfg, self.action_weights, self.n_classes, self.method)


J = TypeVar("J", bound=ClipJob)


class ClipParts(ABC, Generic[J]):
    """One actor: what it needs is loaded once, and each row of clips becomes a part file."""

    def __init__(self, job: J, pool: Pool) -> None:
        """Prepare the process."""
        prepare_torch(job.cfg.resources.threads, job.cfg.deterministic)
        self.job, self.pool, self.device = job, pool, device_of(pool)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write the part file of the clips of one row; bad are those that the part says are not valid."""
        answer = {"part": row["part"], "clips": 0, "seconds": 0.0, "bad": 0, "stopped": False}
        if preempt.requested(self.job.run):
            return {**answer, "stopped": True}
        started, keys = time.perf_counter(), [str(key) for key in row["keys"]]
        with torch.inference_mode():
            table = self.table(keys)
        write_part(self.job.folder / row["part"], table)
        valid = table["valid"].to_pylist() if "valid" in table.column_names else [True]
        return {**answer, "clips": len(keys), "bad": valid.count(False), "seconds": time.perf_counter() - started}

    @abstractmethod
    def table(self, keys: list[str]) -> pa.Table:
        """Make the part of the clips of `keys`, in their order."""

    def reader_of(self, *views: ViewConfig) -> ClipReader:
        """Make a reader of what it sees."""
        return evaluation_reader(self.job.cfg, self.job.shards, views, self.device, self.pool.sharers)


A = TypeVar("A", bound=ActionJob)


class ActionParts(ClipParts[A]):
    """One that asks f_E."""

    def __init__(self, job: A, pool: Pool, view: ViewConfig) -> None:
        """Load f_E and the reader of `view`, what it sees."""
        super().__init__(job, pool)
        self.encoder = placed(job.encoder(), self.device)
        self.reader = self.reader_of(view)


def evaluation_reader(
    cfg: RunConfig, shards: Path, views: Sequence[ViewConfig], device: torch.device, sharers: int = 1
) -> ClipReader:
    """Make a reader that is asked for clips by key."""
    manifest, reading = Manifest.open(shards, cfg.reading.cache), cfg.reader(*views)
    if device.type == "cpu" and reading.decode in ("dali-gpu", BOTH):
        reading = replace(reading, decode="auto")  # a driver without a GPU looks at a few clips itself
    items = ItemTable.unlabelled(manifest.keys)
    return ClipReader(manifest, items, reading, seed=0, device=device, sharers=sharers)


def shown(
    network: nn.Module, cfg: RunConfig, shards: Path, inputs: InputConfig, keys: Iterable[str]
) -> tuple[list[str], Tensor]:
    """Show one view of each clip to a network: the keys of those that can be read, sorted, and what it says of them.

    That is [N, ...] in float32 on the network's device, [0] where no clip can be read.
    """
    device = next(network.parameters()).device
    read: list[str] = []
    parts: list[Tensor] = []
    for batch in evaluation_reader(cfg, shards, [inputs.view()], device).batches(sorted(keys), cfg.embed.batch):
        sound = batch.sound()
        if sound.keys:  # not every network takes a batch of none
            read += sound.keys
            parts.append(network(sound.frames[:, 0].to(device)).float())
    return read, torch.cat(parts) if parts else torch.empty(0, device=device)


def make_parts(
    worker: type[Any], job: Told, rows: Sequence[dict[str, Any]], pool: Pool, count: Count
) -> list[dict[str, Any]]:
    """Let a pool of `worker` make the part files of `rows` in `job.folder`; return what they say of those made."""
    timeout_s = 60 * job.cfg.resources.data_timeout_min
    work = Work(worker=worker, told=job, run=job.run, folder=job.folder, pool=pool, timeout_s=timeout_s)
    return map_parts(work, rows, count)
