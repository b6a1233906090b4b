"""What the Ray cluster holds against what a run asks for."""

from __future__ import annotations

import math
from collections.abc import Collection

from jobs.config.sections import HowMany, ResourcesConfig
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


def workers_of(resources: ResourcesConfig, batches: Collection[int]) -> int:
    """Count the training workers of an encoder, by the cluster and the sizes of all batches where that is left open."""
    import ray

    if resources.workers != "auto":
        return resources.workers
    if not uses_gpu(resources):
        return 1
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = (min(node.get("GPU", 0), node.get("CPU", 0) / resources.cpus_per_worker) for node in nodes)
    return most_that_divide(sum(map(int, room)), batches)


def most_that_divide(most: int, batches: Collection[int]) -> int:
    """Give the largest number up to `most`, and at least 1, by which every batch can be divided."""
    common = math.gcd(*batches)
    return max(count for count in range(1, max(most, 1) + 1) if common % count == 0)


def check_room(resources: ResourcesConfig, gpu: bool) -> None:
    """Refuse at once what the cluster can never hold; Ray would wait for it."""
    import ray

    have = ray.cluster_resources()
    workers = 1 if resources.workers == "auto" else resources.workers
    cpus, gpus = have.get("CPU", 0), have.get("GPU", 0)
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


def share_of_gpus(resources: ResourcesConfig, batches: Collection[int]) -> str:
    """Say in a line what takes how many of the cluster's GPUs: counts that are typed do not follow what is granted."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0)
    counts = {
        "workers": workers_of(resources, batches),
        "embed_actors": actors_of(resources.embed_actors, resources),
        "score_actors": actors_of(resources.score_actors, resources),
    }
    said = ", ".join(
        f"resources.{name}={count}{' (auto)' if getattr(resources, name) == 'auto' else ''}"
        for name, count in counts.items()
    )
    return f"{gpus:g} GPUs here; training of one encoder, embedding and scoring take {said}"


def actors_of(asked: HowMany, resources: ResourcesConfig) -> int:
    """Count the actors of a pool: never more than there are GPUs, where these are used."""
    import ray

    if not uses_gpu(resources):
        return 1 if asked == "auto" else asked
    gpus = int(ray.cluster_resources()["GPU"])
    return gpus if asked == "auto" else min(asked, gpus)
