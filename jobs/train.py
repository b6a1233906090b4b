"""One distributed training job: any objective on N workers under Ray Train.

Checkpoints are our own, in the stage's folder: Ray registers a reported checkpoint only when its controller next looks,
and a worker killed in between would lose it. Ray starts the group, restarts it after a lost worker, and each rank goes
on from the newest checkpoint on disk.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from finepseudo.compute import Precision, prepare_torch
from jobs.config import ResourcesConfig
from jobs.train_loop import CHECKPOINTS, FAILURE, WEIGHTS, Loop, LoopJob, Outcome, any_rank, fail
from shards.manifest import Manifest
from shards.reader import ClipReader, ReaderConfig
from shards.types import ItemTable, UserError

_REFUSED = f"{UserError.__module__}.{UserError.__qualname__}: "  # how the last line of a worker's trace begins


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainJob:
    """What every worker of one training job is told."""

    loop: LoopJob
    shards: Path
    items: ItemTable
    reader: ReaderConfig
    # makes the objective; the same on every rank
    objective: Callable[[], nn.Module]
    threads: int
    deterministic: bool
    # that of the encoder which is trained
    precision: Precision = "fp32"


class Preempted(Exception):  # noqa: N818 - not an error
    """Asked to stop; everything done so far is on disk."""


def train_rank(job: TrainJob, rank: int, world: int, device: torch.device, sharers: int = 1) -> Outcome:
    """Train one rank, one of `sharers` on its machine; with world > 1 the process group stands already."""
    prepare_torch(job.threads, job.deterministic, job.precision)
    loop, problem = None, ""
    try:
        manifest = Manifest.open(job.shards, job.reader.cache, scattered=not job.reader.order.shard_window)
        place = {"rank": rank, "world": world, "sharers": sharers}
        reader = ClipReader(manifest, job.items, job.reader, seed=job.loop.seed, device=device, **place)
        loop = (job.objective(), reader)
    except UserError as error:
        problem = str(error)
    if any_rank([bool(problem)], device)[0] or loop is None:  # before any rank waits for another
        return fail(job.loop, problem)
    return Loop(job.loop, *loop, device=device).run()


def _worker(told: dict[str, Any]) -> str:
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    ranks = context.get_world_rank(), context.get_world_size()
    return train_rank(told["job"], *ranks, device, context.get_local_world_size())


def uses_gpu(resources: ResourcesConfig) -> bool:
    """Decide whether workers get a GPU; refuse when GPUs are asked for and the cluster has none."""
    import ray

    found = ray.cluster_resources().get("GPU", 0) >= 1
    if resources.device == "gpu" and not found:
        raise UserError(
            "resources.device=gpu: this Ray cluster has no GPU; use resources.device=auto or start Ray with GPUs"
        )
    return found and resources.device != "cpu"


def check_room(resources: ResourcesConfig, gpu: bool) -> None:
    """Refuse at once what the cluster can never hold; Ray would wait for it."""
    import ray

    have = ray.cluster_resources()
    workers, cpus, gpus = resources.workers, have.get("CPU", 0), have.get("GPU", 0)
    if workers * resources.cpus_per_worker > cpus:
        raise UserError(
            f"resources: {workers} workers x {resources.cpus_per_worker:g} cpus_per_worker do not fit into this "
            f"cluster of {cpus:g} CPUs; lower one of them"
        )
    if gpu and workers > gpus:
        raise UserError(
            f"resources: {workers} workers need a GPU each and this cluster has {gpus:g}; use "
            f"resources.workers={gpus:g}, or resources.device=cpu to train without"
        )


def share_of_gpus(resources: ResourcesConfig) -> str:
    """Say in a line what takes how many of the cluster's GPUs: counts do not follow what an allocation grants."""
    import ray

    names = ("workers", "embed_actors", "score_actors")
    counts = ", ".join(f"resources.{name}={getattr(resources, name)}" for name in names)
    gpus = ray.cluster_resources().get("GPU", 0)
    return f"{gpus:g} GPUs here; training of one encoder, embedding and scoring take {counts}"


def fit(job: TrainJob, resources: ResourcesConfig, callbacks: Sequence[object] = ()) -> None:
    """Run one training job to its end. `Preempted` after a stop request, `UserError` for what the user can mend."""
    job.loop.folder.mkdir(parents=True, exist_ok=True)
    (job.loop.folder / FAILURE).unlink(missing_ok=True)
    outcome = _fit(job, resources, callbacks)
    if outcome == "preempted":
        raise Preempted
    if outcome == "failed" or not (job.loop.folder / WEIGHTS).exists():
        reason = job.loop.folder / FAILURE
        told = outcome.partition(_REFUSED)[2] or f"training failed: {outcome}"
        raise UserError(reason.read_text().strip() if reason.exists() else f"{job.loop.stage}: {told}")
    for name in (CHECKPOINTS, "ray"):
        shutil.rmtree(job.loop.folder / name, ignore_errors=True)


def _fit(job: TrainJob, resources: ResourcesConfig, callbacks: Sequence[object]) -> str:
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu = uses_gpu(resources)
    check_room(resources, gpu)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo", timeout_s=1800),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": resources.cpus_per_worker, **({"GPU": 1} if gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name=f"{job.loop.stage.replace('/', '-')}-{uuid.uuid4().hex[:8]}",
            storage_path=str(job.loop.folder.resolve() / "ray"),
            callbacks=list(callbacks),
            failure_config=ray.train.FailureConfig(max_failures=resources.max_failures, controller_failure_limit=3),
            worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(job.threads)}},
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        return str(trainer.fit().return_value)
    except ray.train.ControllerError as error:
        raise UserError(
            f"{job.loop.stage}: Ray Train could not run {resources.workers} workers: {_first_line(error)}"
        ) from error
    except ray.train.TrainingFailedError as error:
        return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
