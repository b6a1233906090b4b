"""A Ray cluster of one Slurm allocation: `srun --ntasks-per-node=1 python -m jobs.cluster --folder D -- command ...`.

Every node runs this command. Task 0 starts the head, waits until all nodes have joined and runs the command with
RAY_ADDRESS set; the others join the head and stay until task 0 is done. They find it through small files in a folder on
the shared file system, one folder per attempt of a job step, and then hold a connection to it (`roll`):

    head.json   where task 0 listens     token   key of this cluster, 0600     ray.<r>.log, logs.<r>/   what Ray said

The folder stays unless the code is 0. Stop signals are passed on to the command. Only processes that were started here
are ended: never `ray stop`, which ends every Ray of a user on a node. The exit code is the command's, or 75 when a part
of the cluster was lost: what is done is on disk, and the same job goes on from there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.cluster.allocation import Allocation
from jobs.cluster.follower import Follower
from jobs.cluster.leader import Leader
from jobs.cluster.task import POLL_S, ClusterConfig, say
from shards.errors import UserError


def run_task(allocation: Allocation, config: ClusterConfig, command: Sequence[str]) -> int:
    """Play this task's role to the end; return the exit code."""
    if allocation.rank == 0:
        leader = Leader(allocation, config)
        leader.listen()
        return leader.run(command)
    follower = Follower(allocation, config)
    follower.listen()
    return follower.run()


def wait_for_nodes(names: Sequence[str], deadline_s: float) -> int:
    """Count the nodes of the cluster at RAY_ADDRESS until all named ones are there; return an exit code."""
    import ray

    end, shown = time.monotonic() + deadline_s, -1
    ray.init(logging_level="ERROR", log_to_driver=False)
    while True:
        alive = {node["NodeName"] for node in ray.nodes() if node["Alive"]}
        missing = [name for name in names if name not in alive]
        left = end - time.monotonic()
        if len(missing) != shown:
            say(f"{len(names) - len(missing)}/{len(names)} nodes ({max(left, 0):.0f} s left)")
            shown = len(missing)
        if not missing:
            return 0
        if left < 0:
            say(f"error: missing after the deadline: {', '.join(missing)}")
            return 1
        time.sleep(POLL_S)


def main(argv: Sequence[str] | None = None, env: Mapping[str, str] = os.environ) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m jobs.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="folder that every node sees")
    parser.add_argument("--deadline", type=float, default=180.0, help="seconds until all nodes have joined")
    parser.add_argument("--object-store-mb", type=int, help="object store of a node")
    parser.add_argument("--dashboard", action="store_true", help="start Ray's dashboard (sweeps need it)")
    parser.add_argument("--wait", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- command and arguments, run on the first node")
    options = parser.parse_args(argv)
    if options.wait:
        return wait_for_nodes(options.wait.split(), options.deadline)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command or options.folder is None:
        parser.error("needs --folder DIR -- command ...")
    try:
        config = ClusterConfig(
            folder=options.folder.absolute(),
            deadline_s=options.deadline,
            object_store_mb=options.object_store_mb,
            dashboard=options.dashboard,
        )
        return run_task(Allocation.of(env), config, command)
    except (UserError, ValueError) as error:
        say(f"error: {error}")
        return UserError.exit_code
