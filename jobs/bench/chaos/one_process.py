"""Stands where Ray stands, without its start-up: ranks are forked, rows are mapped one after another.

A run goes its whole way over it in seconds, so that a hundred of them can be disturbed in an hour. Ranks are processes
of their own with a real gloo group; one that dies is started again, as often as Ray Train would. What only the real
Ray can show is no matter of it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist

from jobs.bench.chaos.points import PLACE, die_with_parent, reach

COLLECTIVES = ("all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", "barrier", "reduce_scatter_tensor")
CPUS = 4.0
_FORK = multiprocessing.get_context("fork")


class Failed(Exception):  # noqa: N818 - stands for one of Ray's
    """What Ray Train raises when a worker has failed too often."""


class _Settings(SimpleNamespace):
    """Any of Ray's configuration classes."""


@dataclass(frozen=True)
class _Rows:
    """A data set of Ray Data: rows, and what is done with each."""

    rows: Sequence[Any]
    step: Callable[[Any], Any] | None = None

    def map(self, step: Any, *, fn_constructor_args: Sequence[Any] = (), **_: Any) -> _Rows:  # noqa: ANN401
        return _Rows(self.rows, step(*fn_constructor_args) if isinstance(step, type) else step)

    def iter_rows(self) -> Iterator[Any]:
        for row in self.rows:
            reach("ray.data: a row")
            yield row if self.step is None else self.step(row)


@dataclass(frozen=True)
class _Context:
    rank: int
    world: int

    def get_world_rank(self) -> int:
        return self.rank

    def get_world_size(self) -> int:
        return self.world

    def get_local_world_size(self) -> int:
        return self.world


class _Trainer:
    def __init__(self, worker: Callable[[Any], Any], **told: Any) -> None:  # noqa: ANN401
        self._worker, self._told = worker, told

    def fit(self) -> SimpleNamespace:
        """Run the ranks until all of them end well; `Failed` when that went wrong too often."""
        reach("ray.train: fit")
        run = self._told["run_config"]
        folder = Path(run.storage_path)
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(run.failure_config.max_failures + 1):
            value, problem = self._group(folder / f"group-{attempt}")
            if not problem:
                return SimpleNamespace(return_value=value)
        raise Failed(problem)

    def _group(self, meeting: Path) -> tuple[Any, str]:
        world = self._told["scaling_config"].num_workers
        meeting.unlink(missing_ok=True)
        ends, ranks = [], []
        for rank in range(world):
            here, there = _FORK.Pipe(duplex=False)
            process = _FORK.Process(target=self._rank, args=(there, meeting, rank, world))
            process.start()
            there.close()
            ends.append(here)
            ranks.append(process)
        answers = [("", "")]
        open_ends = list(ends)
        while open_ends and not any(problem for _, problem in answers):
            for end in wait(open_ends):
                open_ends.remove(end)  # type: ignore[arg-type]
                answers.append(_answer(end))  # type: ignore[arg-type]
        for process in ranks:
            if any(problem for _, problem in answers):
                process.kill()
            process.join()
        meeting.unlink(missing_ok=True)
        problem = next((problem for _, problem in answers if problem), "")
        return answers[-1][0], problem

    def _rank(self, told: Connection, meeting: Path, rank: int, world: int) -> None:
        die_with_parent()
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
        PLACE.role, PLACE.counts = f"rank {rank}", Counter()
        sys.modules["ray.train"].get_context = lambda: _Context(rank, world)  # type: ignore[attr-defined]
        try:
            if world > 1:
                dist.init_process_group(
                    "gloo", init_method=f"file://{meeting}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
                )
            value = self._worker(self._told["train_loop_config"])
            if world > 1:
                dist.destroy_process_group()
            told.send((value, ""))
        except BaseException:
            told.send(("", traceback.format_exc()))
        told.close()
        os._exit(0)


def _answer(end: Connection) -> tuple[Any, str]:
    try:
        value, problem = end.recv()
    except EOFError:
        return "", "a worker died"
    return value, str(problem)


def stand_in() -> None:
    """Put it where `import ray` finds it, and say when a collective begins."""
    for name in COLLECTIVES:
        setattr(dist, name, _announced(name, getattr(dist, name)))
    ray, data, train, exceptions = (_module(name) for name in ("ray", "ray.data", "ray.train", "ray.exceptions"))
    train_torch = _module("ray.train.torch")
    for name in ("RayActorError", "NodeDiedError", "WorkerCrashedError", "ObjectLostError", "LocalRayletDiedError"):
        setattr(exceptions, name, type(name, (Exception,), {}))
    _fill(data, from_items=lambda rows, **_: _Rows(rows), ActorPoolStrategy=_Settings, TaskPoolStrategy=_Settings)
    for name in ("ScalingConfig", "RunConfig", "FailureConfig", "LoggingConfig"):
        setattr(train, name, _Settings)
    _fill(train, ControllerError=type("ControllerError", (Exception,), {}), TrainingFailedError=Failed)
    _fill(train_torch, TorchConfig=_Settings, TorchTrainer=_Trainer, get_device=lambda: torch.device("cpu"))
    _fill(train, torch=train_torch)
    _fill(ray, data=data, train=train, exceptions=exceptions, is_initialized=lambda: True)
    _fill(ray, cluster_resources=lambda: {"CPU": CPUS}, nodes=lambda: [{"Alive": True}])


def _announced(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def announced(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        reach(f"collective: {name}")
        return call(*args, **options)

    return announced


def _module(name: str) -> ModuleType:
    module = sys.modules[name] = ModuleType(name)
    return module


def _fill(module: ModuleType, **what: Any) -> None:  # noqa: ANN401
    vars(module).update(what)
