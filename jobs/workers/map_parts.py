"""One Ray Data job over part files: a pool of stateful actors, each row a fixed part of the work.

A row names the part file its result goes to; parts that are there already are left out, so a job that was stopped does
only what is missing. What a part holds never depends on the number of actors or on which of them made it.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.cluster.resources import actors_of, uses_gpu
from jobs.config.sections import HowMany, ResourcesConfig
from jobs.progress import Count
from jobs.workers.part_files import is_whole
from shards.errors import UserError

if TYPE_CHECKING:
    import torch

_P = ParamSpec("_P")
MAX_BLOCKS = 2000
CHECKS = 8
"""Parts whose hashes are compared at the same time."""
POLL_S = 5.0
"""Time between two looks for a stop request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Actors of one job: how many, on what."""

    actors: int
    cpus: float
    gpu: bool
    # actors on one node, which share its cores
    sharers: int = 1


def plan_pool(wanted: HowMany, resources: ResourcesConfig) -> Pool:
    """Share the cluster among the actors; one CPU stays free for the tasks that feed them."""
    import ray

    have = ray.cluster_resources()
    free = max(have.get("CPU", 1.0) - 1.0, 0.5)
    gpu = uses_gpu(resources)
    actors = actors_of(wanted, resources)
    nodes = max(1, sum(bool(node["Alive"]) for node in ray.nodes()))
    return Pool(actors=actors, cpus=min(1.0, int(100 * free / actors) / 100), gpu=gpu, sharers=-(-actors // nodes))


def device_of(pool: Pool) -> torch.device:
    """Name the device an actor of the pool computes on."""
    import torch

    return torch.device("cuda" if pool.gpu else "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One job over parts.

    worker: a class made as `worker(told, pool)` in each actor, whose instances map a row {"part": file name, ..} to a
    flat dict; a true "stopped" in it says that a stop was requested. It raises `UserError` for what must be fixed.
    timeout_s: time without a finished part after which the job is given up.
    """

    worker: Callable[..., Callable[[dict[str, Any]], dict[str, Any]]]
    told: object
    run: Path
    folder: Path
    pool: Pool
    timeout_s: float


def refusing(answer: Callable[_P, dict[str, Any]]) -> Callable[_P, dict[str, Any]]:
    """Let what is refused be the row that is answered: Ray Data keeps only the text of an error's trace.

    `stream` raises it again.
    """

    @wraps(answer)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> dict[str, Any]:
        try:
            return answer(*args, **kwargs)
        except UserError as error:
            return {"refused": str(error)}

    return call


class _Actor:
    """What Ray Data makes. What it is told is small: large things lie in files."""

    def __init__(self, work: Work) -> None:
        self._work = work

    @cached_property
    def _worker(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return self._work.worker(self._work.told, self._work.pool)

    @refusing
    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Run the worker, which is made at the first row: only a row can tell what it refuses."""
        return self._worker(row)


def map_parts(work: Work, rows: Sequence[dict[str, Any]], count: Count) -> list[dict[str, Any]]:
    """Run the work over the rows whose part file is missing or damaged; return what the workers returned for them.

    `count` is told (parts done, parts) after each. `Preempted` after a stop request, `UserError` when no part is
    finished for `timeout_s`, or for what a worker refuses.
    """
    work.folder.mkdir(parents=True, exist_ok=True)
    todo = _missing(work.folder, rows)
    if not todo:
        return []
    there, results = len(rows) - len(todo), []
    count(there, len(rows))
    for result in stream(partial(_execute, work, todo), work.timeout_s, work.run):
        results.append(result)
        count(there + len(results), len(rows))
    if any(row.get("stopped") for row in results):
        raise Preempted
    return results


def _missing(folder: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the rows whose part is not there, or not as it was written; such a part is removed."""
    there = [row for row in rows if (folder / row["part"]).exists()]
    with ThreadPoolExecutor(CHECKS) as pool:
        whole = dict(
            zip((row["part"] for row in there), pool.map(lambda r: is_whole(folder / r["part"]), there), strict=True)
        )
    for name in (name for name, good in whole.items() if not good):
        sys.stderr.write(f"warning: {folder / name} was damaged; it is made again\n")
        (folder / name).unlink(missing_ok=True)
    return [row for row in rows if not whole.get(row["part"])]


def stream(job: Callable[[], Iterator[dict[str, Any]]], timeout_s: float, run: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Ray Data job as they are finished.

    `Preempted` soon after a stop request for the run; `UserError` for a row that was refused, and when no row is
    finished for `timeout_s`: a job that lacks resources waits forever.
    """
    finished: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for row in job():
                finished.put(row)
            finished.put(None)
        except BaseException as error:  # raised where the rows are wanted
            finished.put(error)

    threading.Thread(target=work, daemon=True).start()
    until = time.monotonic() + timeout_s
    while True:
        if preempt.requested(run):
            raise Preempted
        try:
            item = finished.get(timeout=POLL_S)
        except queue.Empty:
            if time.monotonic() > until:
                raise UserError(
                    f"a Ray Data job has finished no part for {timeout_s / 60:g} minutes; give the cluster more CPUs "
                    "or raise resources.data_timeout_min; the same command goes on where it was"
                ) from None
            continue
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return
        if item.get("refused"):
            raise UserError(str(item["refused"]))
        until = time.monotonic() + timeout_s
        yield item


def _execute(work: Work, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    import ray
    from ray.data import ActorPoolStrategy

    data = ray.data.from_items(list(rows), override_num_blocks=min(len(rows), MAX_BLOCKS))
    mapped = data.map(
        _Actor,
        fn_constructor_args=(work,),
        compute=ActorPoolStrategy(size=min(work.pool.actors, len(rows))),
        num_cpus=work.pool.cpus,
        num_gpus=1 if work.pool.gpu else 0,
    )
    yield from mapped.iter_rows()
