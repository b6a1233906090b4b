"""One distributed training job: any objective on N workers under Ray Train.

Checkpoints are our own, in the stage's folder: Ray registers a reported checkpoint only when its controller next looks,
and a worker killed in between would lose it. Ray starts the group, restarts it after a lost worker, and each rank goes
on from the newest checkpoint on disk.
"""

from __future__ import annotations

import re
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from finepseudo.compute.config import Precision
from finepseudo.compute.networks import prepare_torch
from finepseudo.encoders.frame_encoder import FrameEncoder
from finepseudo.run_folder.layout import BEST, CHECKPOINTS, FAILURE, WEIGHTS
from finepseudo.training.checkpoint import drop_damaged
from finepseudo.training.objectives import Objective
from jobs.cluster.preempt import Preempted
from jobs.cluster.resources import check_room, uses_gpu, workers_of
from jobs.config.run import RunConfig
from jobs.config.sections import ResourcesConfig
from jobs.workers.features import FeatureReader, store_of
from jobs.workers.train_loop import Loop, LoopJob, Outcome, Reader, any_rank, fail
from shards.errors import UserError
from shards.read.reader import ClipReader
from shards.read.streams import StreamInput, StreamReader
from shards.storage.manifest import Manifest

_REFUSED = f"{UserError.__module__}.{UserError.__qualname__}: "  # how the last line of a worker's trace begins

_FRAME = re.compile(r'\s*File "(.+)", line (\d+), in ')
_RAISED = re.compile(r"[A-Za-z_][\w.]*(:|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainJob:
    """What every worker of one training job is told."""

    loop: LoopJob
    shards: Path
    # what is read at every step, the leading stream first
    streams: Mapping[str, StreamInput]
    # makes the objective; the same on every rank
    objective: Callable[[], Objective]
    threads: int
    deterministic: bool
    # that of the encoder which is trained
    precision: Precision
    # sizes of batches that the workers have to share equally, where their number is left open
    batches: tuple[int, ...] = ()
    # f_A reads kept frame features in place of frames; the configuration says which
    features: RunConfig | None = None

    def reader(self, place: Place, objective: Objective) -> Reader:
        """Open what one rank reads."""
        if self.features:
            return open_features(self, place, self.features, objective)
        return open_streams(self, place)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Which rank of how many it is, where it computes, and how many of them share the machine's cores."""

    rank: int
    world: int
    device: torch.device
    sharers: int


def train_rank(job: TrainJob, rank: int, world: int, device: torch.device, sharers: int = 1) -> Outcome:
    """Train one rank, one of `sharers` on its machine; with world > 1 the process group stands already."""
    prepare_torch(job.threads, job.deterministic, job.precision)
    loop: tuple[Objective, Reader] | None = None
    problem = ""
    try:
        objective, place = job.objective(), Place(rank=rank, world=world, device=device, sharers=sharers)
        loop = (objective, job.reader(place, objective))
    except UserError as error:
        problem = str(error)
    if any_rank([bool(problem)], device)[0] or loop is None:  # before any rank waits for another
        return fail(job.loop, problem)
    return Loop(job.loop, *loop, device=device).run()


def open_streams(job: TrainJob, place: Place) -> StreamReader:
    """Open what one rank reads. The shards are read as the leading stream reads them."""
    reader = StreamReader(_shards(job), job.streams, seed=job.loop.seed, **asdict(place))
    if place.rank == 0:
        sys.stderr.write(f"{job.loop.stage}: decode: {reader.decoder}\n")
    return reader


def open_features(job: TrainJob, place: Place, cfg: RunConfig, objective: Objective) -> FeatureReader:
    """Open the kept features of the frames that one rank would read; those of its objective's encoder."""
    ((name, stream),) = job.streams.items()
    manifest, encoder = _shards(job), objective.get_submodule("encoder")
    if not isinstance(encoder, FrameEncoder):
        raise TypeError(f"{type(objective).__name__} trains no alignability encoder")
    reader = ClipReader(manifest, stream.items, stream.reader, seed=job.loop.seed, **asdict(place))
    return FeatureReader(name, reader, store_of(cfg, job.loop.run, manifest, encoder), encoder)


def _shards(job: TrainJob) -> Manifest:
    lead = next(iter(job.streams.values())).reader
    return Manifest.open(job.shards, lead.cache, scattered=not lead.order.shard_window)


def _worker(told: dict[str, Any]) -> str:
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    ranks = context.get_world_rank(), context.get_world_size()
    return train_rank(told["job"], *ranks, device, context.get_local_world_size())


def fit(job: TrainJob, resources: ResourcesConfig, callbacks: Sequence[object] = (), *, tidied: bool = True) -> None:
    """Run one training job to its end. `Preempted` after a stop request, `UserError` for what the user can fix.

    tidied: remove what it kept to go on from; else the caller does, by `tidy`.
    """
    job.loop.folder.mkdir(parents=True, exist_ok=True)
    (job.loop.folder / FAILURE).unlink(missing_ok=True)
    for path in drop_damaged(job.loop.folder / CHECKPOINTS):
        sys.stderr.write(f"warning: {path} was damaged; training goes on from the checkpoint before it\n")
    outcome = _fit(job, resources, callbacks)
    if outcome == "preempted":
        raise Preempted
    if outcome == "failed" or not (job.loop.folder / WEIGHTS).is_file():
        reason = job.loop.folder / FAILURE
        told = outcome.partition(_REFUSED)[2] or f"training failed: {outcome}"
        raise UserError(reason.read_text().strip() if reason.exists() else f"{job.loop.stage}: {told}")
    if tidied:
        tidy(job.loop.folder)


def tidy(folder: Path) -> None:
    """Remove what a training that has ended kept to go on from."""
    for name in (CHECKPOINTS, "ray"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / BEST).unlink(missing_ok=True)


def _fit(job: TrainJob, resources: ResourcesConfig, callbacks: Sequence[object]) -> str:
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu = uses_gpu(resources)
    check_room(resources, gpu)
    workers = workers_of(resources, job.batches)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo", timeout_s=1800),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,
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
        raise UserError(f"{job.loop.stage}: Ray Train could not run {workers} workers: {_first_line(error)}") from error
    except ray.train.TrainingFailedError as error:
        return said_by_worker(str(error))


def said_by_worker(text: str) -> str:
    """Make one line of a worker's trace: what was raised, and where, in the last file that is no library's.

    >>> said_by_worker('  File "a.py", line 3, in f\\n    f()\\nValueError: no\\nclip')
    'ValueError: no clip (a.py:3)'
    """
    lines = text.splitlines()
    frames = [(at, found[1], found[2]) for at, line in enumerate(lines) if (found := _FRAME.match(line))]
    if not frames:
        return lines[-1].strip() if text.strip() else "no reason was given"
    rest = lines[frames[-1][0] + 1 :]
    said = " ".join(line.strip() for line in rest[next((i for i, x in enumerate(rest) if _RAISED.match(x)), -1) :])
    if _REFUSED in said:
        return said
    own = [(file, line) for _, file, line in frames if "site-packages" not in file and not file.startswith(sys.prefix)]
    return f"{said} ({':'.join(own[-1])})" if own else said


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
