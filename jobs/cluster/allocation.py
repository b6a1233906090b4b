"""What Slurm granted to this task, and addresses and ports on its node."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from shards.errors import UserError

MB = 1024 * 1024
DEFAULT_STORE_MB = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """One task of a job step with one task per node, as the environment of `srun` describes it."""

    # job and step number; how often the job was requeued
    job: str
    step: str
    attempt: str
    # this task, this node and all nodes of the step in the order of the tasks
    rank: int
    node: str
    nodes: tuple[str, ...]
    # what this node gives to the step; memory None: the cluster does not count memory
    cpus: int
    gpus: int
    memory_bytes: int | None

    @staticmethod
    def of(env: Mapping[str, str]) -> Allocation:
        """Read the variables of an `srun` task; raise `UserError` outside of one or with several tasks a node."""
        needed = ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURMD_NODENAME", "SLURM_CPUS_ON_NODE")
        if missing := [name for name in needed if name not in env]:
            raise UserError(
                f"{', '.join(missing)} not set: start this with srun inside a Slurm job (see slurm/ray_job.sh)"
            )
        nodes = host_names(env["SLURM_STEP_NODELIST"])
        tasks = int(env.get("SLURM_STEP_NUM_TASKS", len(nodes)))
        if tasks != len(nodes):
            raise UserError(
                f"{tasks} tasks on {len(nodes)} nodes: one task per node is needed; use --ntasks-per-node=1"
            )
        cpus = int(env["SLURM_CPUS_ON_NODE"])
        memory_mb = int(env.get("SLURM_MEM_PER_NODE", 0)) or cpus * int(env.get("SLURM_MEM_PER_CPU", 0))
        return Allocation(
            job=env["SLURM_JOB_ID"],
            step=env.get("SLURM_STEP_ID", "0"),
            attempt=env.get("SLURM_RESTART_COUNT", "0"),
            rank=int(env["SLURM_PROCID"]),
            node=env["SLURMD_NODENAME"],
            nodes=nodes,
            cpus=cpus,
            gpus=_usable_gpus(int(env.get("SLURM_GPUS_ON_NODE", 0)), env["SLURMD_NODENAME"]),
            memory_bytes=memory_mb * MB or None,
        )

    def object_store_bytes(self, wanted_mb: int | None) -> int:
        """Size of Ray's object store: as wanted, or 30 % of the granted memory, never more than /dev/shm has left."""
        if wanted_mb is not None:
            return wanted_mb * MB
        share = int(0.3 * self.memory_bytes) if self.memory_bytes else DEFAULT_STORE_MB * MB
        return max(80 * MB, min(share, int(0.8 * shutil.disk_usage("/dev/shm").free)))  # noqa: S108 - where Ray maps it


def _usable_gpus(granted: int, node: str) -> int:
    """Count the GPUs that are both granted and visible to torch; say so when they differ."""
    if granted == 0:
        return 0
    import torch

    seen = torch.cuda.device_count()
    if seen < granted:
        sys.stdout.write(f"cluster: node {node}: Slurm grants {granted} GPUs, torch sees {seen}; Ray gets {seen}\n")
    return min(granted, seen)


def _scontrol(*arguments: str) -> str:
    try:
        done = subprocess.run(["scontrol", *arguments], check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"scontrol {' '.join(arguments)} fails: {getattr(error, 'stderr', None) or error}") from error
    return done.stdout


def host_names(nodelist: str) -> tuple[str, ...]:
    """Expand `n[1-2]` to names."""
    return tuple(_scontrol("show", "hostnames", nodelist).split())


def node_address(node: str) -> str:
    """IPv4 address that Slurm itself uses for a node."""
    found = re.search(r"\bNodeAddr=(\S+)", _scontrol("show", "node", node))
    name = found.group(1) if found else node
    try:
        return str(socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0])
    except OSError as error:
        raise UserError(
            f"node {node}: its address {name!r} does not resolve on {os.uname().nodename} ({error})"
        ) from error


def local_address(peer: str) -> str:
    """Address of this host on the interface that routes to `peer`; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError as error:
            raise UserError(f"no route from {os.uname().nodename} to {peer} ({error})") from error
        return str(probe.getsockname()[0])
