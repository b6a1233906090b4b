"""What a run's records say of the code and the cluster that made it."""

from __future__ import annotations

from pathlib import Path

import finepseudo
import jobs
import shards
from finepseudo.run_folder.environment import code_version, environment
from finepseudo.run_folder.files import write_json
from finepseudo.run_folder.layout import RunPaths
from jobs.cluster.resources import workers_of
from jobs.config.build import plain
from jobs.config.run import RunConfig


def source_version() -> str:
    """Identify the code of the three packages."""
    return code_version([Path(str(package.__file__)).parent for package in (shards, finepseudo, jobs)])


def write_environment(cfg: RunConfig, version: str) -> None:
    """Record versions, machine and the stage-independent facts of this run."""
    import ray

    resources = {name: value for name, value in ray.cluster_resources().items() if name in ("CPU", "GPU", "memory")}
    device = "gpu" if resources.get("GPU") and cfg.resources.device != "cpu" else "cpu"
    record = environment(version, device)
    record |= {"nodes": len(ray.nodes()), "cluster": resources, "recipe": plain(cfg.resources)}
    record |= {"workers": workers_of(cfg.resources, cfg.batches.values())}
    write_json(RunPaths(cfg.folder).environment, record)
