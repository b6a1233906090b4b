"""What the Ray cluster holds against what a run asks for."""

from __future__ import annotations

from jobs.config.sections import ResourcesConfig
from shards.errors import UserError


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
